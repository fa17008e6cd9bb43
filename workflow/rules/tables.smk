"""The paper's tables, ours and the paper's numbers side by side."""


rule table:
    """One grid as CSV, Markdown and LaTeX, and what is on record of its cells."""
    input:
        scores=lambda wildcards: [f"{row}/scores.csv" for row in rows_of(wildcards.grid)],
        published="resources/published.csv",
    output:
        multiext(f"{RESULTS}/tables/{{grid}}", ".csv", ".md", ".tex", "_cells.csv"),
    log:
        f"{RESULTS}/logs/tables/{{grid}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tables/{{grid}}.tsv"
    conda:
        "../../environment.yml"
    params:
        rows=lambda wildcards: rows_of(wildcards.grid),
        output=lambda wildcards: f"{RESULTS}/tables/{wildcards.grid}",
        title=lambda wildcards: SETTINGS.grids[wildcards.grid].title,
        number=lambda wildcards: number_option(wildcards.grid),
        left_out=[f"--left-out={image_set.name}" for image_set in LEFT_OUT],
    shell:
        "tlw tables {params.rows:q} --output {params.output:q} --title {params.title:q}"
        " --published {input.published:q} {params.number} {params.left_out:q} > {log:q} 2>&1"
