if 'transformer' not in globals():
    from mage_ai.data_preparation.decorators import transformer


@transformer
def sizes(penguins, *args, **kwargs):
    """How many there are of each species, and how large they are."""
    return penguins.groupby('species', as_index=False).agg(
        penguins=('number', 'size'),
        mass_g=('mass_g', 'mean'),
        flipper_mm=('flipper_mm', 'mean'),
        bill_mm=('bill_mm', 'mean'),
    )
