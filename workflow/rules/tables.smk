"""The paper's tables, ours and the paper's numbers side by side."""


rule table:
    """One grid as CSV, Markdown and LaTeX, and what is on record of its cells."""
    input:
        lambda wildcards: scores_of(wildcards.grid),
        lambda wildcards: [
            f"{row}/scores.csv" for row in ensembles_of(wildcards.grid, RESULTS)
        ],
    output:
        report(
            f"{RESULTS}/tables/{{grid}}.csv",
            category="Tables",
            labels={"grid": "{grid}", "what": "all numbers"},
        ),
        report(
            f"{RESULTS}/tables/{{grid}}.md",
            category="Tables",
            labels={"grid": "{grid}", "what": "the tables"},
        ),
        f"{RESULTS}/tables/{{grid}}.tex",
        report(
            f"{RESULTS}/tables/{{grid}}_cells.csv",
            category="Tables",
            labels={"grid": "{grid}", "what": "how each cell came about"},
        ),
    log:
        f"{RESULTS}/logs/tables/{{grid}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tables/{{grid}}.tsv"
    conda:
        "../../environment.yml"
    params:
        rows=lambda wildcards, output: rows_of(wildcards.grid, run_of(output[0]))
        + ensembles_of(wildcards.grid, run_of(output[0])),
        output=lambda wildcards, output: output[0].removesuffix(".csv"),
        title=lambda wildcards: SETTINGS.grids[wildcards.grid].title,
        options=lambda wildcards: table_options(wildcards.grid),
    shell:
        "tlw tables {params.rows:q} --output {params.output:q} --title {params.title:q}"
        " {params.options:q} > {log:q} 2>&1"
