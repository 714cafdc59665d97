import os
from pathlib import Path

import pandas as pd

if 'data_loader' not in globals():
    from mage_ai.data_preparation.decorators import data_loader

COLUMNS = {'Species': 'species', 'Delta 15 N (o/oo)': 'd15n', 'Delta 13 C (o/oo)': 'd13c'}


@data_loader
def load(*args, **kwargs):
    if kwargs['retry']['attempts'] == 1:
        raise ConnectionError(f"{os.environ['LABORATORY']} is busy (the demo's first try always fails)")
    path = Path(kwargs['repo_path']) / 'data' / 'penguins-raw.csv'
    return pd.read_csv(path, usecols=list(COLUMNS)).rename(columns=COLUMNS)
