"""One cell: backbone x scale x loss x seed."""


localrules:
    cell,


rule cell:
    """A cell's resolved config, all that its training reads: when it changes, the cell reruns."""
    output:
        f"{RESULTS}/{{grid}}/{{cell}}/cell.json",
    log:
        f"{RESULTS}/{{grid}}/{{cell}}/logs/cell.log",
    params:
        content=lambda wildcards: cell_of(wildcards).model_dump_json(),
    shell:
        "tlw cell {params.content:q} --output {output:q} > {log:q} 2>&1"


rule train:
    """A trained network. Its checkpoints are no output, so a job that fails keeps them."""
    input:
        cell=f"{RESULTS}/{{grid}}/{{cell}}/cell.json",
        pairs=lambda wildcards: pairs_of(
            cell_of(wildcards).train, "train", cell_of(wildcards).scale
        ),
        judge=judge_of,
    output:
        weights=f"{RESULTS}/{{grid}}/{{cell}}/weights.safetensors",
        curve=f"{RESULTS}/{{grid}}/{{cell}}/training.csv",
        record=f"{RESULTS}/{{grid}}/{{cell}}/record.json",
    log:
        f"{RESULTS}/{{grid}}/{{cell}}/logs/train.log",
    benchmark:
        f"{RESULTS}/{{grid}}/{{cell}}/benchmarks/train.tsv"
    params:
        pairs=lambda wildcards, input: [f"--pairs={path}" for path in input.pairs],
        judge_folder=WEIGHTS,
        device=SETTINGS.device,
    threads: SETTINGS.threads
    shell:
        "tlw train {input.cell:q} {params.pairs:q} --judge-folder {params.judge_folder:q}"
        " --device {params.device:q} --threads {threads} > {log:q} 2>&1"
