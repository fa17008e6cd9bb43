#!/usr/bin/env bash
# For `snakemake --sdm conda`: environment.yml has what tlw needs, this puts tlw itself beside it.
# Snakemake runs it inside the new environment, from the folder that the workflow runs in.
set -euo pipefail

source="${TLW_SOURCE:-.}"
if [ "$source" = . ] && ! grep -qs '^name = "tlw"' pyproject.toml; then
    echo "environment.post-deploy.sh: this folder is no clone of tlw, so tlw cannot be installed" \
        "from it; set TLW_SOURCE to the path or the git+https address of one" >&2
    exit 1
fi
python -m pip install --no-deps --no-build-isolation "$source"
