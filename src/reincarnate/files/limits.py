"""How much of a stranger's file is looked at: the limits of all readers, in one table. What is beyond is refused."""

from typing import Final

MIB: Final = 2**20

# ---- sizes, in bytes -------------------------------------------------------------------------------------
FILE: Final = 2048 * MIB  # a file that is read whole
JSON: Final = 64 * MIB  # a record of ours; the largest known is a study of thousands of runs, some 2 MiB
YAML: Final = MIB  # settings, which people write
METRICS: Final = 256 * MIB  # the metrics of one run, some 200 bytes a line
SHARED: Final = 64 * 1024 * MIB  # an agent that is pushed or pulled, with its replay
CARD: Final = 1 * MIB  # what people read
FILM: Final = 64 * MIB  # an episode as a GIF
HEADER: Final = 1 << 14  # of an npy file

# ---- depth and number ------------------------------------------------------------------------------------
DEPTH: Final = 64  # containers in one another, of a record or a pickle
VALUES: Final = 4_000_000  # in one JSON record
YAML_VALUES: Final = 200_000  # in one YAML file, aliases written out
DIGITS: Final = 40  # of a whole number; generators keep theirs in 128 bits
PICKLE_NAMES: Final = 10_000  # classes and functions that a pickle refers to
LINKS: Final = 2_000_000  # names in an HDF5 file
COLUMNS: Final = 64  # of a dataset
ANCESTORS: Final = 100_000  # in one lineage
PLACES: Final = 1_000_000  # in a store's index
DRAWN: Final = 12  # generations of a tree on a screen
EVALUATIONS: Final = 100_000  # of a phase, each a checkpoint

# ---- work ------------------------------------------------------------------------------------------------
SECONDS: Final = 10.0  # that somebody's program may take for its first answer, on one observation
MEMORY: Final = 4096 * MIB  # that it may work in
WORK: Final = 1e11  # multiplications of one observation's answer: a ResNet-152 at 224 × 224 has 1.1e10
NUMBERS: Final = 2**28  # in one tensor that it makes

# ---- text ------------------------------------------------------------------------------------------------
LINE: Final = 2000  # letters of a message
NAME: Final = 300  # letters of a name, a version, a path in a record
