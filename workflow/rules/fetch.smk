"""Images and weights. They come from the internet, so a cluster's head node fetches them."""


rule fetch_images:
    """One image set, every file checked; images that are in its folder already are taken."""
    output:
        "resources/images/{image_set}/manifest.tsv",
    log:
        f"{RESULTS}/logs/fetch/{{image_set}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fetch/{{image_set}}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        # Of this set alone, and of its images: a change of another entry, or of a mirror, reruns
        # nothing. The shell does not need it.
        digest=lambda wildcards: REGISTRY[wildcards.image_set].digest,
        registry=lambda wildcards: registry_of(wildcards.image_set),
        folder=subpath(output[0], ancestor=2),
    shell:
        "tlw fetch {wildcards.image_set:q} {params.registry:q} --folder {params.folder:q}"
        " > {log:q} 2>&1"


rule fetch_weights:
    """The real weights of the judge and of LPIPS."""
    output:
        f"{WEIGHTS}/{{weights}}.safetensors",
    log:
        f"{RESULTS}/logs/fetch/{{weights}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fetch/{{weights}}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        net=lambda wildcards: wildcards.weights.removeprefix("lpips_"),
        folder=subpath(output[0], parent=True),
    shell:
        "tlw fetch-weights {params.net:q} --judge-folder {params.folder:q} > {log:q} 2>&1"
