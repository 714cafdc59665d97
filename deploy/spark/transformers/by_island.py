from pyspark.sql import functions as f

if 'transformer' not in globals():
    from mage_ai.data_preparation.decorators import transformer


@transformer
def by_island(penguins, **kwargs):
    """The mean of each island, heaviest first."""
    means = penguins.groupBy('island').agg(f.avg('grams').alias('grams')).orderBy(f.desc('grams'))
    for row in means.collect():
        print(f'{row.island:10} {row.grams:,.0f} g')
    return means
