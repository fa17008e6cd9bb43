"""Images and weights. They come from the internet, so a cluster's head node fetches them."""


localrules:
    fetch_images,
    fetch_weights,


rule fetch_images:
    """One image set, every file checked; images that are in its folder already are taken."""
    input:
        registry="resources/datasets.yaml",
    output:
        "resources/images/{image_set}/manifest.tsv",
    log:
        f"{RESULTS}/logs/fetch/{{image_set}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fetch/{{image_set}}.tsv"
    conda:
        "../../environment.yml"
    shell:
        "tlw fetch {wildcards.image_set:q} --registry {input.registry:q} --folder resources/images"
        " > {log:q} 2>&1"


rule fetch_weights:
    """The real weights of the judge and of LPIPS."""
    output:
        f"{WEIGHTS}/lpips_{{net}}.safetensors",
    log:
        f"{RESULTS}/logs/fetch/lpips_{{net}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fetch/lpips_{{net}}.tsv"
    conda:
        "../../environment.yml"
    params:
        folder=subpath(output[0], parent=True),
    shell:
        "tlw fetch-weights {wildcards.net:q} --judge-folder {params.folder:q} > {log:q} 2>&1"
