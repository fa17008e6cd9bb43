"""Before anything is submitted, SLURM is asked whether it would take the jobs."""

# When SLURM refuses a job of a group, Snakemake prints `message: None`. `sbatch --test-only` says
# why, and costs no job.

import subprocess

ASKED_AT_MOST = 50  # kinds of jobs; a grid has some ten


def submission(job):
    """The `sbatch` command that the plugin would run for a job or a group, and only ask."""
    from snakemake_executor_plugin_slurm.submit_string import get_submit_command
    from snakemake_executor_plugin_slurm.utils import set_gres_string

    asked = job.resources
    params = {
        **{"run_uuid": "asked", "slurm_logfile": os.devnull, "comment_str": "asked"},
        "account": f"-A {asked.slurm_account}" if asked.get("slurm_account") else "",
        "partition": (
            f"-p {asked.slurm_partition}" if asked.get("slurm_partition") else ""
        ),
        "workdir": os.getcwd(),
    }
    command = get_submit_command(job, params, settings=workflow.executor_settings)
    return f"{command}{set_gres_string(job)} --test-only --wrap true"


def named(job):
    """A kind of job, as messages call it, and the key that says what it asks for."""
    if job.is_group():
        group = next(iter(job)).group
        return f"group {group}", (
            "a group asks for the time of all its jobs together; change "
            f"`group-components: {group}`, or `runtime`, in slurm/profile.yaml"
        )
    if job.rule.name == "train":
        cell = cell_of(job.wildcards)
        name = f"{cell.backbone_name}_x{cell.scale}"
        return f"rule train of {name}", (
            f"change `resources: {name}` (runtime, mem_mb, gpu) in the config, or "
            "`default-resources` (slurm_partition, slurm_account) in slurm/profile.yaml"
        )
    rule_name = job.rule.name
    return f"rule {rule_name}", (
        f"change `default-resources`, or `set-resources: {rule_name}`, in slurm/profile.yaml"
    )


def refusals(jobs, attempt):
    """What SLURM says of each kind of job that it would refuse, and what to do."""
    kinds = {}
    for job in jobs:
        job.attempt = attempt  # most ask for more at a later one
        kinds.setdefault(submission(job), job)
    for command, job in list(kinds.items())[:ASKED_AT_MOST]:
        done = subprocess.run(
            command, shell=True, capture_output=True, text=True, timeout=120
        )
        if done.returncode:
            asked = {
                key: job.resources.get(key) for key in ("runtime", "mem_mb", "gpu")
            }
            told = ", ".join(f"{key} {value}" for key, value in asked.items() if value)
            name, change = named(job)
            yield f"{name}, which asks for {told}: {done.stderr.strip()}\n    {change}"


def ask_slurm():
    """Stops where SLURM would refuse a first attempt; warns of last ones."""
    jobs = [job for job in workflow.dag.needrun_jobs() if not job.is_local]
    jobs = list(dict.fromkeys(workflow.dag.get_job_group(job) or job for job in jobs))
    last = 1 + workflow.execution_settings.retries
    later = [] if last == 1 else list(refusals(jobs, last))
    now = list(refusals(jobs, 1))
    if now:
        raise WorkflowError("\n".join(f"SLURM would refuse {told}" for told in now))
    for told in later:
        logger.warning(f"SLURM would refuse attempt {last} at {told}")


onstart:
    if workflow.is_main_process and workflow.executor_plugin.name == "slurm":
        ask_slurm()
