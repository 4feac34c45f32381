"""Numbers that more than one part of the simulator needs (Balloon Learning Environment 1.0.1, Apache-2.0)."""

GRAVITY = 9.80665  # m/s²
GAS = 8.3144621  # J/(mol K)
AIR_MASS = 0.028964922481160  # kg/mol
HELIUM_MASS = 0.004002602  # kg/mol
DAY = 86_400  # s
EARTH_RADIUS = 6_371_000.0  # m

STRIDE = 10  # s, one Euler step
STRIDES = 18  # of them in one agent step
AGENT_STEP = STRIDE * STRIDES  # s
EPISODE = 960  # agent steps, 48 h

DOWN, STAY, UP = 0, 1, 2

HELIUM = 6830.0  # mol in the envelope
ENVELOPE_MASS = 68.5  # kg
PAYLOAD_MASS = 92.5  # kg
DRY_MASS = ENVELOPE_MASS + PAYLOAD_MASS
BASE_VOLUME = 1804.0  # m³
VOLUME_PER_PASCAL = 0.0199  # m³/Pa
BURST = 2380.0  # Pa of superpressure

CAPACITY = 3058.56  # Wh
DAY_LOAD, NIGHT_LOAD = 120.4, 183.7  # W without the compressor
FLOOR_HEIGHT = 15_240.0  # m: 50,000 ft, the lowest a balloon may fly
STATION_RADIUS = 50_000.0  # m
