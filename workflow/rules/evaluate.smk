"""Scores on the benchmarks, image by image."""


rule evaluate:
    """Scores of a trained cell, an imported network, or of bicubic upsampling."""
    input:
        weights=lambda wildcards: weights_of(wildcards.row),
        pairs=lambda wildcards: pairs_of(TEST, "test", scale_of(wildcards.row)),
        lpips=[f"{WEIGHTS}/lpips_{net}.safetensors" for net in PROTOCOL.lpips_nets],
    output:
        f"{RESULTS}/{{row}}/scores.csv",
    log:
        f"{RESULTS}/{{row}}/logs/evaluate.log",
    benchmark:
        f"{RESULTS}/{{row}}/benchmarks/evaluate.tsv"
    conda:
        "../../environment.yml"
    params:
        network=lambda wildcards, input: input.get("weights") or "bicubic",
        pairs=lambda wildcards, input: [f"--pairs={path}" for path in input.pairs],
        judge_folder=lambda wildcards, input: os.path.dirname(input.lpips[0]),
        device=SETTINGS.device,
    threads: SETTINGS.threads
    resources:
        gpu=0 if SETTINGS.device == "cpu" else 1,
    shell:
        "tlw evaluate {params.network:q} {params.pairs:q} --output {output:q}"
        " --judge-folder {params.judge_folder:q} --device {params.device:q} --threads {threads}"
        " > {log:q} 2>&1"
