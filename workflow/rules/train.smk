"""One cell: backbone x scale x loss x seed."""


rule train:
    """A trained network. What defines its cell is a parameter: when that changes, the cell reruns,
    and no other. The job writes it down as cell.json, all that the training reads besides images.
    Neither that nor the checkpoints are outputs, so a job that fails keeps them.
    """
    input:
        pairs=lambda wildcards: pairs_of(
            cell_of(wildcards).train, "train", cell_of(wildcards).scale
        ),
        judge=judge_of,
        start=start_of,
        validation=validation_of,
    output:
        weights=f"{RESULTS}/{{grid}}/{{cell}}/weights.safetensors",
        curve=f"{RESULTS}/{{grid}}/{{cell}}/training.csv",
        record=f"{RESULTS}/{{grid}}/{{cell}}/record.json",
    log:
        f"{RESULTS}/{{grid}}/{{cell}}/logs/train.log",
    benchmark:
        f"{RESULTS}/{{grid}}/{{cell}}/benchmarks/train.tsv"
    conda:
        "../../environment.yml"
    threads: SETTINGS.threads
    resources:
        runtime=lambda wildcards, attempt: asked(wildcards, attempt)["runtime"],
        mem_mb=lambda wildcards, attempt: asked(wildcards, attempt)["mem_mb"],
        gpu=lambda wildcards, attempt: asked(wildcards, attempt)["gpu"],
    params:
        content=lambda wildcards: cell_of(wildcards).model_dump_json(),
        cell=lambda wildcards, output: os.path.join(
            os.path.dirname(output.weights), "cell.json"
        ),
        pairs=lambda wildcards, input: [f"--pairs={path}" for path in input.pairs],
        judge=lambda wildcards, input: [
            f"--judge-folder={os.path.dirname(x)}" for x in input.judge
        ],
        watched=lambda wildcards, input: [
            *(f"--start={path}" for path in input.start),
            *(f"--validation={path}" for path in input.validation),
        ],
        # Of resources or threads, so that a change of what no result depends on reruns nothing.
        device=lambda wildcards, threads: SETTINGS.device,
        seconds=lambda wildcards, threads: SETTINGS.checkpoint_seconds,
        gpus=lambda wildcards, resources: max(1, resources.gpu),
        share=lambda wildcards, threads: SETTINGS.cells_per_gpu,
        graphs=lambda wildcards, threads: (
            "" if SETTINGS.cuda_graphs else "--no-cuda-graphs"
        ),
    shell:
        # exec, since the shell would die of a signal that asks the training to stop, and the job
        # with it, before there is a checkpoint
        "tlw cell {params.content:q} --output {params.cell:q} > {log:q} 2>&1"
        " && exec tlw train {params.cell:q} {params.pairs:q} {params.judge:q}"
        " {params.watched:q} --device {params.device:q} --threads {threads} --checkpoint-seconds {params.seconds}"
        " --gpus {params.gpus} --cells-per-gpu {params.share} {params.graphs}"
        " >> {log:q} 2>&1"
