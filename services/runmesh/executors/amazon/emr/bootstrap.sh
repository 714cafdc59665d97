#!/bin/bash
# Prepares a node of an EMR cluster for Runmesh: a Python from 3.11 on, and what its runtime imports.
# With what this installs, `python3.11` is found by Spark's driver and executors.
set -eux
if command -v dnf >/dev/null; then
    sudo dnf install -y python3.11 python3.11-pip
else
    sudo python3 -m pip install uv
    sudo env UV_PYTHON_INSTALL_DIR=/opt/python uv python install 3.11
    sudo ln -sf "$(sudo env UV_PYTHON_INSTALL_DIR=/opt/python uv python find 3.11)" /usr/bin/python3.11
fi
sudo python3.11 -m pip install --break-system-packages pyyaml jinja2 fsspec s3fs pandas pyarrow ||
    sudo python3.11 -m pip install pyyaml jinja2 fsspec s3fs pandas pyarrow
