from pathlib import Path

import pandas as pd

if 'data_loader' not in globals():
    from mage_ai.data_preparation.decorators import data_loader
if 'test' not in globals():
    from mage_ai.data_preparation.decorators import test

COLUMNS = {
    'Species': 'species',
    'Sample Number': 'number',
    'Island': 'island',
    'Sex': 'sex',
    'Body Mass (g)': 'mass_g',
    'Flipper Length (mm)': 'flipper_mm',
    'Culmen Length (mm)': 'bill_mm',
    'Culmen Depth (mm)': 'bill_depth_mm',
}


@data_loader
def load(*args, **kwargs):
    path = Path(kwargs['repo_path']) / 'data' / 'penguins-raw.csv'
    penguins = pd.read_csv(path, usecols=list(COLUMNS)).rename(columns=COLUMNS)
    print(f'{len(penguins)} penguins on {penguins.island.nunique()} islands')
    return penguins


@test
def test_everything_was_read(penguins, *args):
    assert len(penguins) == 344, f'344 penguins were measured, {len(penguins)} were read'
