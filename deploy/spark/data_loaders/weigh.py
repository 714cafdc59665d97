if 'data_loader' not in globals():
    from mage_ai.data_preparation.decorators import data_loader


@data_loader
def weigh(**kwargs):
    """A Spark DataFrame: what penguins weigh, in grams."""
    penguins = [
        ('Torgersen', 3750), ('Torgersen', 3800), ('Biscoe', 5200),
        ('Biscoe', 4450), ('Dream', 3500), ('Dream', 3900),
    ]
    return kwargs['spark'].createDataFrame(penguins, ['island', 'grams'])
