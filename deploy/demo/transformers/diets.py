if 'transformer' not in globals():
    from mage_ai.data_preparation.decorators import transformer


@transformer
def diets(isotopes, *args, **kwargs):
    """Heavy nitrogen gathers along the food chain: more of it in the blood, more fish and less krill."""
    isotopes['species'] = isotopes['species'].str.split().str[0]
    return isotopes.groupby('species', as_index=False).agg(nitrogen=('d15n', 'mean'))
