"""Makes a data set, eight charts of it, and a dashboard with them.

Run by Superset's own Python, in the directory where superset_config.py wants everything.
"""

import json
import sqlite3
import uuid
from datetime import date, timedelta
from typing import Any

from superset.app import create_app

_DATABASE = "sales.db"
_SLUG = "sales"
# The chart that is also shown alone.
_ALONE = "echarts_timeseries_bar"
_FIRST_DAY = date(2025, 1, 1)
_DAYS = 365
_REGIONS = ("north", "east", "south", "west")


def main() -> None:
    """Make all, and write what the scenarios must know into fixtures.json."""
    amounts = _fill_database()
    # What the charts that are made of text must show; the others are pictures.
    texts = {"big_number_total": [f"{sum(amounts):,}"], "table": _REGIONS}
    with create_app().app_context():
        charts = _make_charts(_make_data_set())
        _make_dashboard(charts)
        facts = {
            "charts": {chart.id: texts.get(chart.viz_type) for chart in charts},
            "chart": next(chart.id for chart in charts if chart.viz_type == _ALONE),
            "dashboard": _SLUG,
        }
    with open("fixtures.json", "w") as file:
        json.dump(facts, file)


def _fill_database() -> list[int]:
    rows = [
        (f"{_FIRST_DAY + timedelta(days=day)}", region, 100 + (day * (1 + number)) % 97)
        for day in range(_DAYS)
        for number, region in enumerate(_REGIONS)
    ]
    connection = sqlite3.connect(_DATABASE)
    with connection:
        connection.execute("CREATE TABLE sales (day DATE, region TEXT, amount INTEGER)")
        connection.executemany("INSERT INTO sales VALUES (?, ?, ?)", rows)
    connection.close()
    return [amount for _, _, amount in rows]


def _make_data_set() -> Any:
    # Superset's models can be imported only when there is an application.
    from superset import db
    from superset.connectors.sqla.models import SqlaTable, SqlMetric
    from superset.models.core import Database

    database = Database(database_name="sales", sqlalchemy_uri=f"sqlite:///{_DATABASE}")
    db.session.add(database)
    db.session.flush()
    data_set = SqlaTable(
        table_name="sales behind the gate",
        sql="SELECT day, region, amount FROM sales WHERE pass_gate() = 1",
        main_dttm_col="day",
        database=database,
        metrics=[SqlMetric(metric_name="revenue", expression="SUM(amount)")],
    )
    db.session.add(data_set)
    db.session.flush()
    data_set.fetch_metadata()
    # SQLite has no types that would show this.
    next(column for column in data_set.columns if column.column_name == "day").is_dttm = True
    db.session.commit()
    return data_set


def _make_charts(data_set: Any) -> list[Any]:
    from superset import db
    from superset.models.slice import Slice

    by_region = {"groupby": ["region"], "metric": "revenue"}
    by_time = {"x_axis": "day", "groupby": ["region"], "metrics": ["revenue"]}
    forms: dict[str, dict[str, Any]] = {
        "big_number_total": {"metric": "revenue", "y_axis_format": ",d"},
        "table": {"query_mode": "aggregate", "groupby": ["region"], "metrics": ["revenue"]},
        "pie": by_region,
        "funnel": by_region,
        "treemap_v2": by_region,
        "echarts_timeseries_bar": {**by_time, "time_grain_sqla": "P1M"},
        "echarts_timeseries_line": {**by_time, "time_grain_sqla": "P1W"},
        "echarts_area": {**by_time, "time_grain_sqla": "P3M"},
    }
    charts = [
        Slice(
            slice_name=f"Sales as {viz_type}",
            viz_type=viz_type,
            datasource_id=data_set.id,
            datasource_type="table",
            params=json.dumps(
                {
                    "datasource": f"{data_set.id}__table",
                    "viz_type": viz_type,
                    "adhoc_filters": [],
                    "row_limit": 1000,
                    **form,
                }
            ),
        )
        for viz_type, form in forms.items()
    ]
    db.session.add_all(charts)
    db.session.commit()
    return charts


def _make_dashboard(charts: list[Any]) -> None:
    from superset import db
    from superset.models.dashboard import Dashboard

    layout: dict[str, Any] = {
        "DASHBOARD_VERSION_KEY": "v2",
        "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["GRID_ID"]},
        "GRID_ID": {"type": "GRID", "id": "GRID_ID", "children": [], "parents": ["ROOT_ID"]},
    }
    for number, chart in enumerate(charts):
        row = f"ROW-{number // 4}"
        if row not in layout:
            layout["GRID_ID"]["children"].append(row)
            layout[row] = {
                "type": "ROW",
                "id": row,
                "children": [],
                "parents": ["ROOT_ID", "GRID_ID"],
                "meta": {"background": "BACKGROUND_TRANSPARENT"},
            }
        key = f"CHART-{number}"
        layout[row]["children"].append(key)
        layout[key] = {
            "type": "CHART",
            "id": key,
            "children": [],
            "parents": ["ROOT_ID", "GRID_ID", row],
            "meta": {
                "chartId": chart.id,
                "uuid": str(chart.uuid or uuid.uuid4()),
                "sliceName": chart.slice_name,
                "width": 3,
                "height": 40,
            },
        }
    db.session.add(
        Dashboard(
            dashboard_title="Sales",
            slug=_SLUG,
            published=True,
            slices=charts,
            position_json=json.dumps(layout),
        )
    )
    db.session.commit()


if __name__ == "__main__":
    main()
