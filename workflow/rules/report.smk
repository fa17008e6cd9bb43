"""What one looks at: pictures of the networks, figures, and a page for each grid."""


rule pictures:
    """Of each scale, images for which the losses differ most and least, and what each makes of them."""
    input:
        scores=lambda wildcards: scores_of(wildcards.grid),
        weights=lambda wildcards: [
            f"{RESULTS}/{wildcards.grid}/{name}/weights.safetensors"
            for name in networks_of(wildcards.grid, wildcards.scale)
        ],
        pairs=lambda wildcards: pairs_of(TEST, "test", int(wildcards.scale)),
    output:
        directory(f"{RESULTS}/pictures/{{grid}}_x{{scale}}"),
    log:
        f"{RESULTS}/logs/pictures/{{grid}}_x{{scale}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/pictures/{{grid}}_x{{scale}}.tsv"
    conda:
        "../../environment.yml"
    threads: SETTINGS.threads
    resources:
        gpu=0 if SETTINGS.device == "cpu" else 1,
    params:
        pairs=lambda wildcards, input: [f"--pairs={path}" for path in input.pairs],
        foreign=lambda wildcards: foreign_networks(
            f"{wildcards.grid}/{name}"
            for name in networks_of(wildcards.grid, wildcards.scale)
        ),
        named=lambda wildcards: [
            f"--image={name}" for name in SETTINGS.grids[wildcards.grid].pictures
        ],
        device=lambda wildcards, threads: SETTINGS.device,
    shell:
        "tlw pictures {input.weights:q} {params.pairs:q} {params.named:q} --output {output:q}"
        " --device {params.device:q} --threads {threads} {params.foreign:q} > {log:q} 2>&1"


rule figures:
    """A grid's figures as PDF and PNG, with their captions."""
    input:
        scores=lambda wildcards: scores_of(wildcards.grid),
        pictures=lambda wildcards: pictures_of(wildcards.grid),
    output:
        report(
            directory(f"{RESULTS}/figures/{{grid}}"),
            patterns=["{name}.png"],
            category="Figures",
            labels={"grid": "{grid}", "what": "{name}"},
        ),
    log:
        f"{RESULTS}/logs/figures/{{grid}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures/{{grid}}.tsv"
    conda:
        "../../environment.yml"
    params:
        rows=lambda wildcards, output: rows_of(wildcards.grid, run_of(output[0])),
        pictures=lambda wildcards, input: [
            f"--pictures={folder}/index.json" for folder in input.pictures
        ],
        number=lambda wildcards: number_of(wildcards.grid),
    shell:
        "tlw figures {params.rows:q} {params.pictures:q} {params.number:q} --output {output:q}"
        " > {log:q} 2>&1"


rule page:
    """A grid's page: claims, tables, and from each number to its pixels; one file, offline."""
    input:
        scores=lambda wildcards: scores_of(wildcards.grid),
        pictures=lambda wildcards: pictures_of(wildcards.grid),
        figures=f"{RESULTS}/figures/{{grid}}",
        pairs=lambda wildcards: pairs_of_grid(wildcards.grid),
    output:
        report(
            f"{RESULTS}/report/{{grid}}.html",
            category="Pages",
            labels={"grid": "{grid}", "what": "the page"},
        ),
    log:
        f"{RESULTS}/logs/report/{{grid}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/report/{{grid}}.tsv"
    conda:
        "../../environment.yml"
    params:
        rows=lambda wildcards, output: rows_of(wildcards.grid, run_of(output[0])),
        pictures=lambda wildcards, input: [
            f"--pictures={folder}/index.json" for folder in input.pictures
        ],
        title=lambda wildcards: SETTINGS.grids[wildcards.grid].title,
        note=lambda wildcards: SETTINGS.grids[wildcards.grid].note or "",
        number=lambda wildcards: number_of(wildcards.grid),
        pairs=lambda wildcards, input: [f"--pairs={path}" for path in input.pairs],
        registry=[f"--registry={SETTINGS.registry}"] if SETTINGS.registry else [],
    shell:
        "tlw report {params.rows:q} {params.pictures:q} --figures {input.figures:q}"
        " --title {params.title:q} --note {params.note:q} {params.number:q} {params.pairs:q}"
        " {params.registry:q} --output {output:q}"
        " > {log:q} 2>&1"


rule report:
    """The page of every grid."""
    input:
        collect(f"{RESULTS}/report/{{grid}}.html", grid=SETTINGS.grids),
    localrule: True
