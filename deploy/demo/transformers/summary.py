if 'transformer' not in globals():
    from mage_ai.data_preparation.decorators import transformer
if 'test' not in globals():
    from mage_ai.data_preparation.decorators import test


@transformer
def summary(sizes, bills, diets, *args, **kwargs):
    """One row for each species, and one for all."""
    joined = sizes.merge(bills, on='species', how='outer').merge(diets, on='species', how='left')
    joined['penguins'] = joined['penguins'].fillna(sizes.penguins.sum()).astype(int)
    joined['mass_kg'] = joined.pop('mass_g') / 1000
    columns = ['species', 'penguins', 'mass_kg', 'flipper_mm', 'bill_mm', 'bill_shape', 'nitrogen']
    return joined[columns].round(2)


@test
def test_every_species_is_there_once(summary, *args):
    assert sorted(summary.species) == ['Adelie', 'Chinstrap', 'Gentoo', 'all']
