"""Every constant of the query-pattern evidence, with the measurement that fixed it.

None of them is an alarm threshold: the two thresholds (ticket, page) are arguments, in nats, and follow from the false-page budget.
Measured on recorded ART attacks (four services), and on simulated services with 40 benign kinds; "81 settings" below means that halving
or doubling the constant together with its neighbours changed neither a benign alert nor a miss there.
"""

from __future__ import annotations

import numpy as np

MIN_REFERENCE_ROWS = 50  # five cross-fitting folds of ten rows; fewer make the 95 % quantile of the residual an extreme value
MAX_REFERENCE_ROWS = 4_000  # quantiles move < 2 % beyond it and the fit stays below a second at 20 features

# --- scaling and what is kept of a row -------------------------------------------------------------------------------------------
RING = 16  # recent distinct rows of a client; 8 lose Square, 32 gain nothing
# The previous row: its slot, whether it was near no other; in the bits above, how covered, and its answer
SLOT, STRANGER, COVER_SHIFT, COVER_MOST, ANSWER_SHIFT = RING - 1, RING, 5, 63, 16
ANSWERS = 255  # classes that are known apart; of more, those whose numbers differ by as many count as one, and a flip between them as none
COVER_ROWS = RING  # two rows within so many that continue another than the previous one make a client covered: 3:1 cover has one in four
MEMORY = 96  # earlier rows searched for a parent: found JBDA is the same as with 128
COORDINATES = 16  # projections, and sampled columns; equality of 16 separates edits (>= 12 equal) from fresh rows (<= 8)
TARGETS = 48  # columns whose joint residual is kept; 48 of 784 find what all find
RESIDUAL_CLIP = 8.0  # standardised values beyond it say "absurd", not "how absurd"
PROJECTION_CLIP = 1e3  # keeps float32 exact to 1e-4 beside an absurd value, so that one column cannot blind the distances
QUANTUM = 0.012  # of a column's 5-95 % range: 255 levels cover -.744 to 2.3 ranges, so a remembered row is one byte a column
DEAD = 1e-15  # of the median column's scale: a column with less is as good as constant (an embedding's dead number: 1e-33 beside 0.05)
CODE_LAST = 254  # codes are 0 to this
CODE_ZERO = 62  # the code of a column's reference minimum; where the column has a tail below, of .744 of a range below its 5 % quantile:
# one absurd minimum in the reference would leave a single code for all that is ordinary

# --- curvature: small tables whose columns are functions of each other (an instrument's calibration curve) ------------------------
CURVED_WIDTH = 16  # columns at most, ...
CURVED_ROWS = 12  # ... and rows per column at least: 1 + 4 d + d (d + 1) / 2 terms stay well below the rows
CURVED_GAIN = 0.15  # a column switches when its cross-fitted mean log abs residual drops by this much
RIDGE = 0.02  # share of each term's mean square

# --- pictures: a real service sees moved, dimmed and noisy copies -----------------------------------------------------------------
PICTURE_GAIN = (0.75, 1.1)
PICTURE_NOISE = 0.03  # of the 99.9 % quantile of the pixels

# --- E1: a row breaks the joint distribution of its columns -----------------------------------------------------------------------
JOINT_QUANTILES = (0.75, 0.95, 0.99, 0.999)  # of the reference's own energy
JOINT_FLOOR = np.array([0.55, 0.42, 0.27, 0.16])  # tolerated share of rows above them: shifted clients reach .46, .34, .18, .09
JOINT_FLOOR_PICTURES = np.array(
    [1.0, 0.50, 0.33, 0.20]
)  # no second look at pictures, and dull cameras reach .9 above the first limit: it is off
JOINT_CAP = np.array([0.70, 0.60, 0.50, 0.40])  # above it shuffled rows (.8-1.0) could no longer be told apart
JOINT_Q = (0.55, 0.75, 0.93)  # behind 3:1 cover .4; alone .8 to 1
JOINT_CAP_ENERGY = 25.0  # one absurd column counts at most this much in the mean over columns
JOINT_LEFT_OUT = (0.15, 0.90)  # tail of a column left out of the fit, and the quantile over such populations that is tolerated
JOINT_MIN_ROWS = 32  # distinct rows before E1 may speak: with 24 a default in a quarter of the rows cannot be told from chance
JOINT_EDGE_ROWS = 64  # rows with rare limit values that are not judged (integrators send zeros and limits), then they are
JOINT_DEFAULT = 1_000  # weight of a row holding the reference's median, mean or zero where these are rare: never judged
EDGE_RARE, DEFAULT_RARE = 0.03, 0.02  # share of reference rows below which a limit or default value is remarkable
TEMPLATE_EXCESS = 0.15  # more equal fields than reference pairs have: the row continues the previous one, no fresh draw
# Where the number of equal fields tells no edit, as on a table of counts some of whose rows are noughts: share of the reference below
# which a value is rare, how many of them a row must have, and the share of them, or else of all fields, that an edit keeps. Of 24 people
# at a form there 10 were paged, none is.
KEPT_RARE, KEPT_LEAST, KEPT_SHARE = 0.1, 2, 0.6
KEPT_USUAL = 0.4  # mean share of rare values in a column, from which it is asked: counts .6, tables of codes, yes and no 0 to .34
IMPUTED_EXCESS = 0.15  # repeated inner values above the reference's: imputed fields, so E8 is silent
IMPUTED_REPEATS = 3  # of the ring's rows

# --- E1 is looked at again before it speaks (`detectors.evidence.second_look`) ------------------------------------------------------
LOOK_QUANTILE = 0.95
LOOK_NOISE, LOOK_NOISE_QUANTILE = 0.1, 0.9  # sd of each column: an instrument's own noise breaks the tightest of laws (a diamond's weight
# by its size), which shuffled rows break far more
LOOK_SHARE = 0.2  # of the way from ordinary to shuffled reference rows: one attack row in four, behind cover traffic, is still confirmed
LOOK_REPAIRED = (0.5, 0.4)  # of the way, after the columns were mapped: from fewer rows than the next number, from more
LOOK_REPAIRED_ROWS = 64  # of wrong units .23 to .40 are left with 30 rows and .17 to .24 with 96, of shuffled rows .87 and more
LOOK_FILLED, LOOK_FILLED_LEAST = 0.12, 4  # share and number of rows in which one value marks a column as filled by a default; the
# number is enough for one beyond the reference's: of 36 clients who sent codes for what is missing 32 were paged, none is
# Share of the rows that such values fill in a column of templates, and of the columns that may be, at most.
LOOK_TEMPLATE = 0.8, 0.8
# Correlation with what the others say below which a column is turned, and how many are: 10 of 10 clients who had one of another sign, made
# rows 8 of 320 (by luck -.2 to .2).
LOOK_TURNED, LOOK_TURNED_COLUMNS = -0.5, 2
LOOK_ROWS = 12  # rows with half of their fields left; fewer say nothing
LOOK_TIED_ROWS, LOOK_TIED_DRAWS = (12, 24, 48, 96), 20  # for so many rows, the mean of so many draws of the reference's
LOOK_TIED = 0.9  # of that: rows of ranges that the reference has not have 1.1 to 1.3, made rows 0 to .85
LOOK_TIED_LEAST = 0.1  # columns that tell less of each other say nothing
LOOK_SWEEPS = 6  # of coordinate descent for the filled fields
# After a look that did not confirm: so many rows, and this factor, until the next; with (8, 1.25) remembered ones a client that rounds was
# paged.
LOOK_AGAIN = (16, 1.25)
LOOK_LEAST = 16  # remembered rows before the first: one with fewer confirms nothing, and the next is far
JOINT_SCORED = 3  # E1 is silent where fewer than one distinct row in so many is a fresh one: somebody fills a form field by field ...
FRESH_DRAWS = 400  # ... of the reference's own share of them, of so many draws

# --- E8: rows between rows (mixup, averages, interpolation): their joint residuals are too small ----------------------------------
# Of the reference's energy, undifferenced (a sorted export has small differences, not small residuals); of its distance from the middle.
SMOOTH_QUANTILES = (0.05, 0.25)
SMOOTH_FLOOR = 0.12  # tolerated share below it; clients of one cluster reach .15, mixup .25 to .72
SMOOTH_CAP = 0.60
SMOOTH_CLUSTERS = 8  # of the reference, each taken for a population: quiet ones (the digit 1) have small residuals by nature
SMOOTH_MARGIN = 1.2  # the next client's cluster may be quieter than the quietest of them
SMOOTH_Q = (0.25, 0.45, 0.75), (0.45, 0.6, 0.8)
SMOOTH_MOVED = 0.5  # energy of the step over the row's own: less, and the row continues the last one (a quiet sensor)
MOVED_LIMIT = 1  # ... unless the step has more than E1's second limit, as no sensor's: uniform draws lie on one side of skewed columns
SMOOTH_MIN_ROWS = 64  # remembered
PART_CAUTION = 10  # rows' worth of the reference's own share that a part of it is given: a handful of rows says little
# E8's second limit is many: a row's factor is the likelihood ratio of averages over ordinary rows between two of these quantiles.
MIDDLE_QUANTILES = (0.03, 0.06, 0.1, 0.16, 0.25, 0.35, 0.5, 0.65, 0.8, 0.9, 0.96)
MIDDLE_AVERAGES = 6_000  # of the reference's rows, that tell how often
MIDDLE_RATE = 0.26  # tolerated share of rows within the 25 % quantile
MIDDLE_WAYS = (1.0, 0.6, 0.35)  # alternatives, on the way from that to averages: an attacker's are of few rows, or rounded
MIDDLE_FAR = 0.95  # of that way from which averages are as good as tolerated
# How far from the middle; scatter from and to; correlation of each row with the one before. Averages 0 to .06 (of a pool of twenty rows),
# .27 to .8, -.01 to .09; sensors have a scatter of 0 to .1, rows in the order of time or place a correlation of .42 to .92. The last is for
# rows whose residuals are small: no sensor in a place of its own.
MIDDLE_APART, MIDDLE_SCATTER, MIDDLE_ORDER, MIDDLE_QUIET = 0.08, (0.2, 0.85), 0.2, 0.5
MIDDLE_LOOKS = 3  # halvings of the distinct rows between two looks: eight looks in each doubling
# Averages or calm rows (`detectors.evidence.calm`):
CALM_ROWS = (64, 96)  # of a window, from the first rows that E8 speaks of to a full memory
CALM_AVERAGES, CALM_POOLS = 128, (30, 60)  # windows of averages, of so many rows each; rows that some are made of
CALM_WINDOWS = 16  # of each of 22 calm kinds
CALM_LEAST = 20  # rows of a part
CALM_CASES = (2, 4, 8, 12)  # cases, each with so many rows that are most like it
CALM_RIDGE = 0.01
CALM_MARGIN = 0.5  # nats above the calmest window
CALM_TIED = 0.06  # equal pairs of a column above the reference's: averages -.2 to .03, three gaps in ten filled with one value .09
CALM_FLOOR = 0.05  # of the numbers that are taken the logarithm of
# Pictures (`detectors.evidence.averaged`); what averages of two have, and nearest to it a camera:
AVERAGED_LIVE = 0.05  # of the median pixel's variance; the others are always dark
AVERAGED_BACKGROUND = 0.15  # digits .2 to .5, photographs .04
AVERAGED_APART = 0.03  # -.005 to .023; dimmed by a fifth .05 to .18
AVERAGED_LIGHT = 0.05  # of the light of all pixels together; averages 0 to .035
AVERAGED_SCATTER = 0.4, 0.72  # .44 to .7; out of focus .6 to 1.1
AVERAGED_EVEN = 0.45
AVERAGED_LEFT = -0.4, 0.6  # of the way from p^2 to p; averages -.25 to .4, out of focus -.7
AVERAGED_SIGMAS = 3.0
SMOOTH_KNOWN = 12  # clients before it may speak: everybody may have become quieter than the reference, and the first ones are judged by it

# --- E1 follows the present population ---------------------------------------------------------------------------------------------
POPULATION = 128  # most recently judged clients; a swarm of 60 is no majority, and half a table turns over in ~500 rows
POPULATION_KNOWN = 4  # clients below which "everybody has moved" cannot be told from "this one is odd": E1 then opens no ticket ...
POPULATION_ALONE = (96, 300)  # ... and no page before this many distinct rows
POPULATION_SPREAD = 1.25  # clients move by different amounts: the median's move is exceeded by those that moved most
POPULATION_ROWS = (8, 64)  # judged rows between a client's reports: at first, and after the second number of rows
POPULATION_AGE = 512  # reports after which an entry is forgotten
POPULATION_STEP = 0.02  # smaller moves of the tolerated rate are ignored

# --- an explainer's rows (`detectors.evidence.explainer`): all columns keep one value in part; of extraction mostly none, .7 at most ------
MIXED_COLUMNS, MIXED_NEARLY = 3, 0.75  # columns that can tell, and the share of them: of 32 rows some say otherwise by chance
MIXED_COMMON = 0.3  # share of the reference with the kept value, from which a column tells nothing
MIXED_KEPT = (0.25, 0.85)  # share of the rows, beyond those that have the value by chance: half of them, of still sensors more
MIXED_OTHERS = 6  # other values; of Square one or two
STUDY_STEP = 0.05  # robust standard deviations of a pair's step, at least: who asks for a derivative takes less
STUDY_SAME = 0.05  # of a pair's step: the middles of two pairs around one row
STUDY_PAIRS = 5  # of the ring that have another's middle: one-at-a-time sensitivity 6 to 8 when E5 pages it, SimBA and ZOO 0 to 4 but for
# those that nothing moves

# --- E2: every column moved by the same amount away from an earlier row (Jacobian sign steps) -------------------------------------
FLATNESS = (0.90, 0.95, 0.98)  # mean / rms of abs(delta): 1 for a sign step, .80 for Gaussian steps
FLAT_U = 0.05
FLAT_UNSURE = 2  # over the number of reference rows looked at: few trials say little about how often it happens by chance
FLAT_FEW = 8  # columns; of fewer more than half must move: three of six are as flat by chance, where a client leaves three at a default
# Remembered rows before a step is a trial: the nearest of a handful is any row. With 16 no ordinary client is told that 32 spare.
FLAT_LEAST = 16
FLAT_OFF = 0.7  # a reference rate above which flatness means nothing on this service (few three-valued columns)
FLAT_Q = (0.15, 0.4, 0.8)
FLAT_MIXED = 0.7  # pictures: share of one sign above which the step is a change of exposure

# --- E3: the answer flips between neighbours, at ever smaller distance ------------------------------------------------------------
FLIP_RADII = (0.5, 0.1, 0.02)  # of the median nearest-neighbour distance of the reference
NEAR_LEAST = 0.1  # of the median random-pair distance: that distance at least, or dense tables of few columns have no neighbours at all
FLIP_EDIT_RADIUS = 0.05  # the largest of them for rows that share most fields (people edit forms near a boundary)
FLIP_U = (0.12, 0.06, 0.04)
FLIP_Q = (0.1, 0.2, 0.4, 0.7)
FLIP_KNOWN = 30  # pairs of reference rows so near before they tell how often ordinary answers flip there
# Most services flip in 0 to .1 of these pairs; an overfitted forest of whole numbers in .3 to .56, its sensors in .25 to .4.
FLIP_MARGIN = 1.25
OCTAVES = 12  # distance bins; of factor 4 for neighbours, of factor 2 for consecutive rows
FLIP_BINS = 3  # bins with >= 2 flips each, the largest with <= .8 of them: a sensor at a boundary flips at one scale, an attack closes in
FLIP_BIN_MIN = 2  # and at least this share of all: in thousands of rows a sensor reaches every scale now and then
FLIP_BIN_LEAST = 0.02
FLIP_BIN_SHARE = 0.8
# Standard deviations by which neighbours in time must flip at like distances, where rows are edits: searches when they crossed 4 to 12 (one
# 1.2, and 3 thirty rows later); sensors at most 3.2, three that drift in few columns 3 to 7.3, and a still one, asked at every row, 3.7.
FLIP_ORDER = 4.0
FLIP_ORDER_LEAST = 12  # such flips before that can be told
FLIP_EDITS = 0.75  # share of rows that are edits above which wide flips must be seen: rounded to whole numbers, the noise of a sensor has
# several scales, one for each column that moved
LAG_TICKET, LAG_PAGE = 4, 5  # octaves with >= 3 consecutive flips that also open the gate (whole-number walks)
LAG_BIN_MIN = 3
LAG_BIN_EDITS = 0.08  # and this share of them, of a client whose rows are edits: one noisy column at a boundary flips a quarter as often
# an octave down, a search as often
LAG_WIDE = 4  # octaves from a random pair's distance down: further than a sensor's noise reaches (it flips at octaves 5 to 8)
# So many flips there, in three fields or more (a single noisy column reaches them by one large value), open E3's gate where rows are edits.
# Of 24 sensors that flip between edits most have none there, one has 5; searches 12 within 20 to 80 rows.
LAG_WIDE_TICKET, LAG_WIDE_PAGE = 8, 12

# --- E4: the same flips, rarer but over more scales: a search hidden in cover traffic -----------------------------------------------
CLOSING_U = 0.02  # near flips of ordinary clients: 0 for most, .07 at most except at a boundary
CLOSING_Q = (0.05, 0.1, 0.3)
CLOSING_BINS = (4, 5)  # bins with >= 2 flips, or with any; boundary sensors fill 2, drifting ones 3 of either kind
CLOSING_OUTSIDE = 4  # flips outside the two fullest neighbouring bins

# --- E5: probes in pairs x + h u, x - h u -----------------------------------------------------------------------------------------
SYMMETRIC_CENTRE = 0.1  # the pair's centre is the previous row, within this share of the step
SYMMETRIC_COSINE = 0.97  # or the centre moved along the previous step only
SYMMETRIC_TURN = 0.7
SYMMETRIC_PROBE = 0.02  # of the median random-pair distance: a step of one field so small may come back by half, from x - h to x
SYMMETRIC_RETURN = 0.12  # of the step, from its end to the nearest recent row: it has come back; noise of an instrument .03 to .1
SYMMETRIC_U = 0.12
SYMMETRIC_OFF = 0.6  # a reference rate above which pairs mean nothing on this service (few fields with few values: steps recur by chance)
SYMMETRIC_ROWS = 3_000  # reference rows in a row, for that rate
SYMMETRIC_SORTS, SYMMETRIC_PATH = 12, 30  # sorted exports tried, and rows that a path has at least
SYMMETRIC_MARGIN = 1.5  # of the worst path: a household budget of five columns has .06 in random order, .18 sorted, its clients .21 and .26
OPPOSITES = 64  # remembered steps: a block of antithetic noise (x + u_1 .. x + u_m, then x - u_1 .. x - u_m) up to m = 64
OPPOSITE_BITS = 15  # signs of random projections of a step; an exact opposite flips all of them ...
# ... but one at most (fixed: `consecutive` tests for it by clearing one bit)
OPPOSITE_OCTAVE = 8192  # the step's length, in this fraction of an octave, may differ by two: a sensor that drifts to and fro on a line
# has directions that recur, so length must decide; chance matches stay below .03 there
OPPOSITE_COSINE = 0.94  # the angle at which half of the pairs still flip that many signs
OPPOSITE_DIMENSIONS = 3  # fewer: directions recur by chance
OPPOSITE_EQUAL = 0.5  # share of unchanged fields above which a step is an edit; single fields go to and fro all the time
SYMMETRIC_Q = (0.25, 0.4, 0.8)
# A block whose noise was rounded or cut at limits: steps of about the same length, always as many steps ago. Of seventeen services' blocks
# of 30 .05 to .47 of all steps (half of them at most can) have that, and by chance 0 to .03, in the narrowest table .06.
BLOCK_OCTAVE = 2458  # .3 octaves
BLOCK_FIELDS = 3  # sampled fields that change at least: people edit one or two
BLOCK_FOUND = 3  # such steps among the last OPPOSITES, at most: on a line half of them are
BLOCK_STEP = 0.5  # of the median random-pair distance, at most
BLOCK_TURN = 0.5  # cosine to the step before, at most: a sensor's daily round goes on
# From so much on a block is known: steps of its first half, whose like as many steps ago (or one beside) opposed another, are no trials,
# nor are those of fewer fields, and rows that come again are. Its exact opposites count twice: of 2,296 ordinary clients the worst has
# one in 140 steps (rounded ones: one in 43), which is less than the square of SYMMETRIC_U.
BLOCK_KNOWN = 18
BLOCK_SURE = 6, 31  # what a pair at that lag adds, up to the second; each pair elsewhere takes one away

# Steps that come again, both shorter: their shares, in OPPOSITE_OCTAVE of an octave, differ by so much, and a sixteenth (once) or a
# sixty-fourth (counts twice) of themselves at most; smaller shares than the last are none.
SHRUNK_ALIKE, SHRUNK_SHIFTS, SHRUNK_LEAST = 4, (4, 6), 16

# --- E6: flips between consecutive rows that share most fields (walks on whole numbers) --------------------------------------------
LATTICE_FIELDS = 3  # with two columns, one of them filled by a default, every step shares half of the fields
LATTICE_EQUAL = 0.5
LATTICE_EXCESS = 0.1
# Share of the reference's other values that lie as near to the one before as the new one. So near in every column they change are .98 of a
# search's flips in the median (.36 one in ten, on tables of few values), of people's at forms .07 (.39 one in twenty).
LATTICE_NEAR = 0.4
LATTICE_U = 0.12
POLLED = 4  # (E5, too) exact repeats a distinct row beyond which they are polling; a search on whole numbers repeats itself 1 to 3 times
# So many flips as `LAG_WIDE` says, and `FLIP_ORDER` then: few in good order, or more. Of 6,960 people at forms and sensors at boundaries
# 5 were paged by the last two, and of 1,214 searches 156; with 12 and 4 standard deviations, on rough services alone, 15 and 140. The
# first two find seven more of 696 searches: of 15,000 ordinary clients nine have the evidence, with 0 to 4 such flips, and 3.2 at most.
LATTICE_ORDER = ((2, 5.0), (4, 3.0), (6, 2.5), (12, 2.0))
LATTICE_Q = (0.4, 0.55, 0.7)

# --- E7: plus or minus eps in several fields (Square) -----------------------------------------------------------------------------
TWO_VALUED_FIELDS = 3
TWO_VALUED_FLAT = 0.97
TWO_VALUED_STEP = 0.03  # of the range; rounding noise is flat too
TWO_VALUED_DISTINCT = 34  # columns with fewer values move by whole steps anyway
TWO_VALUED_RECURRING = 0.2  # chance of two equal rows from which a column counts as one of these: visits to a doctor are mostly 0, 1 or 2
# Tables: edits of two fields .02 to .06 of a few dozen rows. Pictures: on nine services no ordinary client has more than three hits.
TWO_VALUED_U = 0.08, 0.04
TWO_VALUED_Q = (0.25, 0.55, 0.9)

TWO_VALUED_RECUR = 3  # ring rows that hold a value before it counts as one of the few the client combines anew
TWO_VALUED_SHARED = 0.4  # mean share of the ring's rows with the same value: a search changes a few columns of one row; rows rounded to
# a handful of values a column have recurring ones too, but share fewer
TWO_VALUED_REPEATS = 3  # exact repeats a distinct row from which each is a trial that missed, where most rows are near an earlier one, as a
# sensor's are: one that flickers between two readings of several columns has 3 to 10
# Share of near rows for it: that sensor's are .9; Square's on whole numbers repeat 3 to 16 times, and 0 to .1 are near.
TWO_VALUED_NEAR = 0.5
BOX_ROWS, BOX_COLUMNS = 8, 3  # rows before, and columns with two values; of 2,000 ordinary clients none hits in 1 % of its rows
# Of the last rows so many in the box, where not all remembered ones are in it; then three of four columns must go to and fro, too.
BOX_LATEST, BOX_INSIDE = 8, 6
# Rows after the one in the middle, and columns between for each that only that one has.
BOX_AROUND, BOX_LONE = 3, 2
# From one value to the other among the last eight rows; in more than BOX_COLUMNS columns: counts twice. Once is what a change of base
# leaves, with which 34 of 348 clients who toggle three fields were paged; without, 3 (by other evidence); of four or five fields 266 of 696
BOX_TURNS = 2
BOX_PICTURE_STEP = 48  # in pictures a step is no larger: black-and-white ones have two values everywhere, 83 apart
ROUNDED_VALUES = 8  # of a column in the ring; with more they say nothing of how often each comes
ROUNDED_GRID = 5  # from so many values on it is asked whether they lie on a grid; Square's columns have two or three
ROUNDED_OFF = 2  # codes between two neighbours that no grid of three codes and more has, whose points are themselves rounded to codes
ROUNDED_ALIKE = 0.03, 0.6  # divergence of each such column, and once: rounded rows have -.05 to .02 a column in the median, .1 to .2 where
# two or four columns vary, Square .3 to 1.4 (.07 in a table of two-valued columns)
ROUNDED_LUCK = 32, 0.2  # rows, and what each doubling of them adds: it is asked at every row, so the largest of many counts
ROUNDED_LEAST = 1e-3  # share that a value of the reference has at least
TWO_VALUED_BIG = 3  # quanta; changes of less are jitter (the camera noise of eight-bit pixels recurs too)
TWO_VALUED_NEXT = 1.5  # distances of neighbouring values: below, a column has gone from one to the next, as a sensor's rounded reading does

# --- E9: a row halfway between two recent ones: a bisection, the first thing that searches for a boundary do --------------------------
BISECTION_EQUAL = 2e-3  # difference of the two squared distances, as a share: rows on a line are closer to the middle by chance only
BISECTION_CENTRE = 0.02  # distance of their middle from the row, as a share of its distance from them
BISECTION_U = 0.01  # a sensor that drifts to and fro on a line reaches .003
BISECTION_OFF = 0.1
BISECTION_ROWS = 1_500
BISECTION_Q = (0.04, 0.12, 0.4)
BISECTION_OCTAVES = 4  # each step of a bisection is half of the last; gaps of a series filled in by the middle have one length
BISECTION_DIMENSIONS = 3
# Values of the one column that moved, in the ring, beyond which a middle must be next to the row before: where all columns but one hardly
# ever differ, one of whole numbers that flickers meets middles by chance.
BISECTION_KINDS = 8
# Rounded middles, by their chance: below the first count twice, below the second three times. Of 2.8 million rows of 19,000 ordinary
# clients 6e-5 and 1.4e-6 are (BISECTION_U squared and to the third: 1e-4 and 1e-6); no client has two of the second kind.
HALFWAY = (1e-2, 1e-4)
HALFWAY_OCTAVES = 3  # lengths that are enough where one of the second kind was
HALFWAY_OFTEN = 40  # distinct rows for each of several, where neighbours are answered differently anyway
BISECTION_FIELDS = 2  # that were halved at least: the highest loan for each of many applicants is sought in one

# --- E10: amounts per column that recur from parent to child (`detectors.evidence.stride`) ------------------------------------------
STRIDE_STEP = 4  # code steps that count as a move; with 3 exposures of one picture hit in .09 of the rows, with 4 in none
STRIDE_NATS = 9.5  # ln 96 for the choice of the parent, and five
STRIDE_SURE = 14.0  # nats from which a hit counts twice: five of 3,012 ordinary clients have one at all
STRIDE_SIDE = 2  # matches each way; with 1 sorted and focused clients hit in up to half of their rows
STRIDE_SHARE = 0.7  # limits clip some columns of the parent
STRIDE_COLUMNS, STRIDE_HELD = 4, 8
STRIDE_TURNS = 0.05  # of a picture's usable columns: two of three chance hits on photographs have less, of Jacobian steps one in twenty
STRIDE_CREDIT = 8
STRIDE_U = 0.03  # ordinary clients stay below; weights from the reference instead of p from the client's rows: .5 where it has drifted
STRIDE_Q = (0.1, 0.3, 0.6)

# --- E11: columns that have nothing to do with each other (`detectors.evidence.independence`) ----------------------------------------
INDEPENDENT_FIELDS = 4  # sampled columns; with two or three any combination is ordinary
INDEPENDENT_ROWS = 100  # of the reference
INDEPENDENT_CLUSTERS = (3, 6, 12)  # of the reference, each taken for a population
INDEPENDENT_PART, INDEPENDENT_PART_ROWS = 0.04, 30  # share and number of rows that make a population worth tolerating
INDEPENDENT_MARGIN = 1.1
INDEPENDENT_FLOOR = 0.25  # ordinary clients .05 to .33; independent columns .45 to 1
INDEPENDENT_STRENGTH = 3.0  # standard deviations by which 96 ordinary rows must hang together, or nothing can be told
# Of 96 rows: independent columns -2 to 2.9, a cluster without dependence 1.4 to 3.4, most clients 5 to 90; three of a range of embeddings
# that the reference has not, with another law, -3.3 to -4.1: they were paged.
INDEPENDENT_SIGMAS = -2.5, 1.5
INDEPENDENT_LEAST = 48  # judged rows before it may speak
INDEPENDENT_PAIR = 0.15  # of what holds the columns together, that must be left whichever one is left out: flights .0, hours .05, films .1
# Of the reference's without some one column, and standard deviations of independent columns: of 336 windows of 96 rows with one column
# permuted all but one have that (.99 of those of 48), of drawn and shuffled ones 0 to .05.
INDEPENDENT_WITHOUT = 0.4, 2.0
INDEPENDENT_LEFT = 0.5  # of what holds the columns together that must be between columns the client varies
INDEPENDENT_EVERY = 16  # distinct rows between two questions, or a client of weak dependence is asked until it happens to show none
INDEPENDENT_FORGET = np.float32(1 - 1 / 192)  # a row; with 96 remembered rows a client of one cluster was paged after 480
INDEPENDENT_Q = (0.45, 0.6, 0.85)

# --- E12: rows that look made (`detectors.evidence.generated`) ----------------------------------------------------------------------
GENERATED_FIELDS = 4  # sampled columns; with two or three what is made and what is met overlap
GENERATED_ROWS = 500  # of the reference; with 71 and 202 rows ordinary noise and other units were learnt as made
GENERATED_FOLDS = 3
GENERATED_LEARNT = 16_000  # rows, half of them made
GENERATED_TREES, GENERATED_DEPTH, GENERATED_RATE, GENERATED_CAUTION = 48, 4, 0.35, 8.0
GENERATED_GAPS = 0.3  # share of the learnt rows with unknown fields
GENERATED_ROUNDED = 0.75  # share of the rows whose whole-number columns hold whole numbers: few programs round, schemas often do
GENERATED_STEPS = 16  # of a residual's unit
GENERATED_LIMITS = np.array([0.0, 1.0, 2.0])  # log odds; the last finds one row in four behind cover traffic
GENERATED_MARGIN = 1.2
GENERATED_FLOOR = np.array([0.30, 0.13, 0.05])  # ordinary clients of large tables 0 to .3, 0 to .1 and 0 to .03; ...
# ... made rows .4 to 1, .2 to 1, .1 to .9
GENERATED_Q = (0.42, 0.6, 0.85), (0.24, 0.45, 0.8), (0.12, 0.27, 0.6)
GENERATED_MIN_ROWS = 32
# Of them judged, or one in `JOINT_SCORED`: walks on codes are edits but for one row in ten, which is made; a form's is not.
GENERATED_FRESH = 16
# Shares above its limits, of which a page needs one: of 202 clients paged by E12 198 had. An account of its own units whose columns a
# season moved had .58, .18 and .02. With the first alone rows must lie around the reference: two clients of a range between clusters had
# .90, .12, .01 and .79, .17, .01, and were `displaced` by .23 and .25; averages of codes are by up to .2, else made rows by 0 to .05.
GENERATED_LITTLE = 0.65, 0.25, 0.05
GENERATED_AROUND = 0.21
GENERATED_WAY = 0.15  # of the way from the tolerated rate to 1 that the remembered rows must reach
GENERATED_MAPPED = np.array([[0.5, 0.2, 0.1], [0.4, 0.15, 0.06]])  # and these once units are mapped, from few and from LOOK_REPAIRED_ROWS:
# other units in all columns leave at most .41, .09, 0 and .22, .03, 0; averages .3 to .7, .1 to .5, 0 to .3, fitted draws more. Where some
# columns are curves few rows are mapped badly (44 of 900 clients, 27 to 45 rows each, looked made): a standard deviation more (12).
GENERATED_TIES = 0.05  # chance of two equal codes from which a column counts as one of few or repeating values; continuous ones have .01
# Share of the reference's equal pairs; columns with fewer; and standard deviations. No change of units does that: of newcomers of another
# kind, 26 to 42 rows each, the second column is .7 to 2.2 below by chance, of made rows 2.7 to 9.
GENERATED_TIED = 0.7, 2, 2.5
# What columns tell of each other, below which such rows are no other population's: drawn ones 0, a trend's .1 and more.
GENERATED_TOLD = 0.05
# Of the rows above the first limit or the second, that say so as well: noise, prices that have moved and two sources less in 14 of 22
# clients, made ones in 8 of 75.
GENERATED_UNTIED = np.array([0.78, 0.45])
GENERATED_KNOWN = 12  # clients before it may speak without `POPULATION_ALONE`: 9 of 1,302 extraction ids of three seeds came before
GENERATED_MOVED = 0.1  # excess of the population's tolerated rates above which the trees do not know it, and begin anew
GENERATED_SURE = 0.1  # of the remembered rows above the second limit: prices raised by some percent reach .38 and .01

# --- E13: E12's hits over all of a client's rows (`detectors.evidence.composed`), against the worst of its `habits` ---------
HABIT_NOISE = 0.1  # sd of each column, as LOOK_NOISE: on tables of a tight law .4 to .7 of such rows look made, of codes none more
HABIT_GAPS = (0.1, 0.3)  # share of the values that the middle fills: .35 of flights, .01 of loans look made then
HABIT_EDITS = 0.12  # share of the values that are another row's
CARELESS = 0.3, 0.2  # the same where columns have few values, so that nothing shows it
HABIT_ROUNDED = (0.2, 0.5)  # sd, whole numbers too
HABIT_DRAWS, HABIT_SHOWS = 20, 0.9  # so many draws of 96 rows, and the share in which a habit must show otherwise
COARSER_LEFT = 0.1  # share of the reference without the value that the client has most
COARSER_TIMES, COARSER_SIGMAS, COARSER_COLUMNS = 2.0, 4.0, 0.25  # equal pairs, and share of the columns: half of 91 clients who round, ...
# ... two of 690 that extract; the rest rounds columns that have few values anyway
COMPOSED_MARGIN = 1.15, 0.01  # over the worst habit: as a share of it, and at least
COMPOSED_LUCK = 0.02, 3.0  # over the reference's own rows: at least, and standard deviations of 96 rows
COMPOSED_SHARES = (0.04, 0.12, 0.35)  # of the rows are made and look it: one in four, behind cover traffic, of which some do
COMPOSED_EVERY = 4  # judged rows between two reckonings
COMPOSED_MIN_ROWS = 64  # remembered
COMPOSED_ELSEWHERE = 0.05  # made rows 0 to .03 (nine of ten); one segment .1 to .33, other units and unseen ranges mostly .1 to .9
COMPOSED_SIGMAS, COMPOSED_MORE = 2.0, 0.03  # by which each share without one column must be above the reference's own: a wrong join 0.3

# --- a place of one's own (`detectors.evidence.place`): 105 clients of unseen ranges, 123 of other units and defaults, 76 of segments -
# Of what the reference's pixels tell of each other, at least (less of fewer than half of the memory): drawn or shuffled ones 0, foreign
# ones .1 to .4, a tenth of noise .6 to .95, other cameras' .85 and more; and loose, at most: these .3 to 2.4, pictures made of two 3.1 to
# 5, shuffled ones 6 to 8.
PLACE_PICTURES = 0.5, 2.7
PLACE_FILM = 0.25  # correlation of each picture with the one before: films .32 to .88, made ones -.2 to .04, Knockoff's .3 to .6
# Of the columns' own variance. Within: an instrument that hangs still has .25 by noise of half a standard deviation. From the middle:
# ordinary rows have 1 on the average, averages of four .003.
PLACE_ONE = 0.3, 0.05
PLACE_FEW = 0.4  # of as many rows of the reference: two to eight instruments 0 to .4 (nine of ten), rows that extract .31 to 168
PLACE_CLIP = 5.0  # standard deviations of a residual
PLACE_APART = 0.25
PLACE_SCATTER = 1.75  # those with more than .2: .5 to 1.5 (nine of ten); uniform draws 1.9 to 12
PLACE_AROUND = 4.0  # other units 3.0 to 3.4, rounded rows 2.1; rows of a generator of eight numbers 4.2 to 9.2
PLACE_LOOSE = 4.0  # .6 to 3.3, uniform draws .9 to 3.1; searches around one row 4.2 to 13
PLACE_TAIL = 0.1  # of 34 rows one absurd one left .2 of what they tell, cut to their tenths 1.2
PLACE_TIED = 0.65, 1.6  # unseen ranges of tight tables .7 to 1.5; uniform draws 0 to .2, a search's steps 2

# --- E14: sittings that end when the answer has changed (`detectors.evidence.stopping`) ---------------------------------------------
STOPPING_LEAST = 3  # rows that follow the first
# Of 1,390 sittings of ordinary clients in which the answer changes (seed 69) .04 are hits, of no kind with thirty or more .1 (of exposures
# .16 would be without the second exception); of searches by scores .6 to 1. One has 3.5 nats, of 5,700; tickets begin at 11.5.
STOPPING_U = 0.05
STOPPING_Q = (0.6, 0.95)
STOPPING_FIELDS = 5  # with more than one value, or more than half of them
# A page needs E5 or E7 beside it, each with so much evidence at least, and the product above the page: who works on one case after another
# until the answer is the wanted one, or a machine that is tended once it has changed, has E14 alone.
STOPPING_BESIDE = 400.0

# --- which family a joint or flat alarm belongs to --------------------------------------------------------------------------------
LOCAL_STEP = 0.25  # of the median random-pair distance
LOCAL_MEMORY = 0.1
LOCAL_SHARE = 0.6  # below this share of far rows the client works around points: evasion

EDIT_SHARE = 0.7
EDIT_SHARE_NARROW = 0.5  # with five columns or fewer
ARM_MARGIN = 1.05  # an alternative q within 5 % of the tolerated rate has no power and is left out
SR_CAP = np.float32(1e36)  # ln 83: above any budget, within float32
