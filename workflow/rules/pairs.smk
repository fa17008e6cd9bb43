"""Low and high resolution pairs, by the protocol."""


rule pairs:
    """One image set at one scale as one HDF5 file."""
    input:
        "resources/images/{image_set}/manifest.tsv",
    output:
        f"{RESULTS}/pairs/{{use}}/{{image_set}}_x{{scale}}.h5",
    log:
        f"{RESULTS}/logs/pairs/{{use}}_{{image_set}}_x{{scale}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/pairs/{{use}}_{{image_set}}_x{{scale}}.tsv"
    conda:
        "../../environment.yml"
    threads: SETTINGS.threads
    params:
        folder=subpath(input[0], parent=True),
        protocol=SETTINGS.protocol,
    shell:
        "tlw pairs {params.folder:q} --output {output:q} --scale {wildcards.scale}"
        " --use {wildcards.use} --protocol {params.protocol:q} --threads {threads}"
        " > {log:q} 2>&1"
