if 'transformer' not in globals():
    from mage_ai.data_preparation.decorators import transformer
if 'test' not in globals():
    from mage_ai.data_preparation.decorators import test


@transformer
def clean(penguins, *args, **kwargs):
    """Give species their short names, and leave out penguins that got away unmeasured."""
    penguins['species'] = penguins['species'].str.split().str[0]
    measured = penguins.dropna(subset=['mass_g', 'flipper_mm', 'bill_mm', 'bill_depth_mm'])
    print(f'{len(penguins) - len(measured)} penguins were not measured')
    return measured.reset_index(drop=True)


@test
def test_only_known_species(penguins, *args):
    assert set(penguins.species) == {'Adelie', 'Chinstrap', 'Gentoo'}


@test
def test_nothing_is_missing(penguins, *args):
    assert penguins.bill_mm.notna().all()
