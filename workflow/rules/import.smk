"""Networks that were not trained here: the TLW authors' checkpoints."""


rule import_weights:
    """A checkpoint as a weights file like a trained cell's."""
    input:
        lambda wildcards: checkpoint_of(wildcards).checkpoint,
    output:
        f"{RESULTS}/{{grid}}/{{imported}}/weights.safetensors",
    log:
        f"{RESULTS}/{{grid}}/{{imported}}/logs/import.log",
    benchmark:
        f"{RESULTS}/{{grid}}/{{imported}}/benchmarks/import.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        name=lambda wildcards: checkpoint_of(wildcards).name,
        backbone=lambda wildcards: checkpoint_of(wildcards).backbone,
        scale=lambda wildcards: checkpoint_of(wildcards).scale,
        loss=lambda wildcards: checkpoint_of(wildcards).loss,
    shell:
        "tlw import {input:q} --output {output:q} --name {params.name:q}"
        " --backbone {params.backbone:q} --scale {params.scale} --loss {params.loss:q}"
        " > {log:q} 2>&1"
