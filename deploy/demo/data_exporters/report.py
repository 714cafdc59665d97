import os
from pathlib import Path
from string import Template

if 'data_exporter' not in globals():
    from mage_ai.data_preparation.decorators import data_exporter

COLOURS = {'Adelie': '#e07a3f', 'Chinstrap': '#8b5fbf', 'Gentoo': '#2f8f83', 'all': '#8a8f98'}
WIDTH, HEIGHT = 640, 380
SHORT, LONG, FLAT, DEEP = 30, 62, 12, 22  # millimetres at the edges of the chart


@data_exporter
def report(summary, penguins, *args, **kwargs):
    """Write one HTML page that needs nothing else, and return where it is."""
    page = Template((Path(kwargs['repo_path']) / 'data_exporters' / 'report.html').read_text())
    path = Path(kwargs['repo_path'], kwargs['report'])
    path.parent.mkdir(parents=True, exist_ok=True)
    text = page.substitute(
        station=os.environ['STATION'],
        chart=chart(penguins),
        table=table(summary),
        overall=f"{summary.set_index('species').bill_shape['all']:+.2f}",
        run=kwargs['pipeline_run_id'],
    )
    path.write_text(text, encoding='utf-8')
    print(f'{path}: {len(text):,} characters')
    return str(path)


def chart(penguins):
    dots = [
        f'<circle cx="{x(row.bill_mm):.1f}" cy="{y(row.bill_depth_mm):.1f}" r="3.4" fill="{COLOURS[row.species]}"/>'
        for row in penguins.itertuples()
    ]
    lines = [line(group, COLOURS[name]) for name, group in penguins.groupby('species')]
    dashed = line(penguins, COLOURS['all'], 'stroke-dasharray="6 5"')
    return f'<g fill-opacity=".55">{"".join(dots)}</g>{dashed}{"".join(lines)}{axes()}'


def line(penguins, colour, more=''):
    """The straight line that is nearest to the dots."""
    lengths, depths = penguins.bill_mm, penguins.bill_depth_mm
    slope = lengths.cov(depths) / lengths.var()
    ends = [(x(at), y(depths.mean() + slope * (at - lengths.mean()))) for at in (lengths.min(), lengths.max())]
    (x1, y1), (x2, y2) = ends
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{colour}" stroke-width="3" stroke-linecap="round" {more}/>'
    )


def axes():
    across = [f'<text x="{x(mm):.0f}" y="{HEIGHT - 4}" text-anchor="middle">{mm}</text>' for mm in range(35, 61, 5)]
    up = [f'<text x="4" y="{y(mm) + 4:.0f}">{mm}</text>' for mm in range(14, 22, 2)]
    return f'<g class="axis">{"".join(across + up)}</g>'


def x(bill_mm):
    return (bill_mm - SHORT) / (LONG - SHORT) * WIDTH


def y(depth_mm):
    return HEIGHT - (depth_mm - FLAT) / (DEEP - FLAT) * HEIGHT


def table(summary):
    return ''.join(
        f'<tr><td><i style="background:{COLOURS[row.species]}"></i>{row.species}</td><td>{row.penguins}</td>'
        + ''.join(f'<td>{cell(value)}</td>' for value in (row.mass_kg, row.flipper_mm, row.bill_mm))
        + f'<td>{row.bill_shape:+.2f}</td><td>{cell(row.nitrogen)}</td></tr>'
        for row in summary.itertuples()
    )


def cell(value):
    return '' if value != value else f'{value:.2f}'  # a missing number is not equal to itself
