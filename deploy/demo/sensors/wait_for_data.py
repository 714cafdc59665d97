from pathlib import Path

if 'sensor' not in globals():
    from mage_ai.data_preparation.decorators import sensor


@sensor
def data_is_there(*args, **kwargs):
    return (Path(kwargs['repo_path']) / 'data' / 'penguins-raw.csv').is_file()
