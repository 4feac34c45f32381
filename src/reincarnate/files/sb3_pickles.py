"""What SB3's pickles of numbers may name: statistics, spaces, arrays and generators; nothing is run."""

ALLOWED = (
    r"stable_baselines3\.common\.vec_env\.vec_normalize\.VecNormalize",
    r"stable_baselines3\.common\.running_mean_std\.RunningMeanStd",
    r"(gym|gymnasium)\.spaces\.(box\.Box|discrete\.Discrete|dict\.Dict|multi_binary\.MultiBinary|multi_discrete\.MultiDiscrete)",
    r"collections\.OrderedDict",
    r"numpy\.(dtype|ndarray)",
    r"numpy\.(core|_core)\.multiarray\.(_reconstruct|scalar)",
    r"numpy\.(core|_core)\.numeric\._frombuffer",
    r"numpy\.random\._pickle\.__(randomstate|generator|bit_generator)_ctor",
    r"numpy\.random\._(pcg64\.PCG64|mt19937\.MT19937)",
    r"numpy\.random\.bit_generator\.(SeedSequence|__pyx_unpickle_SeedSequence)",
    r"gym(nasium)?\.utils\.seeding\.RandomNumberGenerator",
)
