"""Scores on the benchmarks, image by image."""


rule evaluate:
    """Scores of a trained cell, an imported network, an ensemble of either, or of bicubic."""
    input:
        weights=lambda wildcards: weights_of(wildcards.row),
        pairs=lambda wildcards: pairs_of(TEST, "test", scale_of(wildcards.row)),
        judges=list(SCORING_WEIGHTS),
    output:
        f"{RESULTS}/{{row}}/scores.csv",
    log:
        f"{RESULTS}/{{row}}/logs/evaluate.log",
    benchmark:
        f"{RESULTS}/{{row}}/benchmarks/evaluate.tsv"
    conda:
        "../../environment.yml"
    threads: SETTINGS.threads
    resources:
        gpu=0 if SETTINGS.device == "cpu" else 1,
    params:
        network=lambda wildcards, input: network_scored(wildcards.row, input),
        foreign=lambda wildcards: foreign_networks([wildcards.row]),
        pairs=lambda wildcards, input: [f"--pairs={path}" for path in input.pairs],
        judge_folder=lambda wildcards, input: os.path.dirname(input.judges[0]),
        metrics=[f"--metric={name}" for name in SETTINGS.metrics],
        device=lambda wildcards, threads: SETTINGS.device,
        share=lambda wildcards, threads: SETTINGS.cells_per_gpu,
    shell:
        "tlw evaluate {params.network:q} {params.pairs:q} --output {output:q}"
        " --judge-folder {params.judge_folder:q} --device {params.device:q} --threads {threads}"
        " --cells-per-gpu {params.share} {params.foreign:q} {params.metrics:q}"
        " > {log:q} 2>&1"


rule evaluate_together:
    """Scores of all networks of a grid at a scale, a scores.csv beside each: for small ones, for
    which starting takes longer than scoring. One cell alone is `evaluate`'s.
    """
    input:
        weights=lambda wildcards: [
            f"{RESULTS}/{wildcards.grid}/{name}/weights.safetensors"
            for name in networks_of(wildcards.grid, wildcards.scale)
        ],
        pairs=lambda wildcards: pairs_of(TEST, "test", int(wildcards.scale)),
        judges=list(SCORING_WEIGHTS),
    output:
        touch(f"{RESULTS}/{{grid}}/scored_x{{scale}}"),
    log:
        f"{RESULTS}/{{grid}}/logs/evaluate_x{{scale}}.log",
    benchmark:
        f"{RESULTS}/{{grid}}/benchmarks/evaluate_x{{scale}}.tsv"
    conda:
        "../../environment.yml"
    threads: SETTINGS.threads
    resources:
        gpu=0 if SETTINGS.device == "cpu" else 1,
    params:
        pairs=lambda wildcards, input: [f"--pairs={path}" for path in input.pairs],
        judge_folder=lambda wildcards, input: os.path.dirname(input.judges[0]),
        foreign=lambda wildcards: foreign_networks(
            f"{wildcards.grid}/{name}"
            for name in networks_of(wildcards.grid, wildcards.scale)
        ),
        metrics=[f"--metric={name}" for name in SETTINGS.metrics],
        device=lambda wildcards, threads: SETTINGS.device,
        share=lambda wildcards, threads: SETTINGS.cells_per_gpu,
    shell:
        "tlw evaluate {input.weights:q} {params.pairs:q}"
        " --judge-folder {params.judge_folder:q} --device {params.device:q} --threads {threads}"
        " --cells-per-gpu {params.share} {params.foreign:q} {params.metrics:q}"
        " > {log:q} 2>&1"
