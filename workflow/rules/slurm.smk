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


def what_to_change(job):
    """The keys that say what a job asks for."""
    if job.is_group():
        return (
            "a group asks for the time of all its jobs together; change "
            f"`group-components: {job.name}`, or its rule's `runtime`, in slurm/profile.yaml"
        )
    if job.rule.name == "train":
        cell = cell_of(job.wildcards)
        return (
            f"change `resources: {cell.backbone_name}_x{cell.scale}` (runtime, mem_mb, gpu) in the "
            "config, or `default-resources` (slurm_partition, slurm_account) in slurm/profile.yaml"
        )
    return f"change `default-resources`, or `set-resources: {job.rule.name}`, in slurm/profile.yaml"


def refusals(jobs):
    """What SLURM says of each kind of job that it would refuse, and what to do."""
    kinds = {submission(job): job for job in jobs if not job.is_local}
    for command, job in list(kinds.items())[:ASKED_AT_MOST]:
        done = subprocess.run(
            command, shell=True, capture_output=True, text=True, timeout=120
        )
        if done.returncode:
            asked = {
                key: job.resources.get(key) for key in ("runtime", "mem_mb", "gpu")
            }
            told = ", ".join(f"{key} {value}" for key, value in asked.items() if value)
            what = f"group {job.name}" if job.is_group() else f"rule {job.rule.name}"
            yield (
                f"SLURM would refuse {what}, which asks for {told}: {done.stderr.strip()}\n"
                f"    {what_to_change(job)}"
            )


onstart:
    if workflow.is_main_process and workflow.executor_plugin.name == "slurm":
        jobs = (
            workflow.dag.get_job_group(job) or job
            for job in workflow.dag.needrun_jobs()
        )
        found = list(refusals(jobs))
        if found:
            raise WorkflowError("\n".join(found))
