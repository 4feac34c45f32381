"""Small networks' updates in C++: `kernels()` compiles it once for this machine, or says that it cannot."""

from reincarnate.native.build import compiler as compiler
from reincarnate.native.kernels import Kernels as Kernels
from reincarnate.native.kernels import Layer as Layer
from reincarnate.native.kernels import Ppo as Ppo
from reincarnate.native.kernels import Pulled as Pulled
from reincarnate.native.kernels import Tower as Tower
from reincarnate.native.kernels import Tree as Tree
from reincarnate.native.kernels import kernels as kernels
