import pandas as pd

if 'transformer' not in globals():
    from mage_ai.data_preparation.decorators import transformer


@transformer
def bills(penguins, *args, **kwargs):
    """Do longer bills go with deeper bills? In each species, yes; in all penguins together, no."""
    of_species = {name: correlation(group) for name, group in penguins.groupby('species')}
    print(f'all penguins: {correlation(penguins):+.2f}; each species: {of_species}')
    return pd.DataFrame({
        'species': [*of_species, 'all'],
        'bill_shape': [*of_species.values(), correlation(penguins)],
    })


def correlation(penguins):
    return float(round(penguins.bill_mm.corr(penguins.bill_depth_mm), 2))
