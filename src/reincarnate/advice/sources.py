"""Who found it out: what the rules stand on. Published figures are read off the authors' plots (± 0.01)."""

_PAPER = "Agarwal et al. (2022)"
_SCALE = "IQM, teacher 1, ten Atari games"

FINETUNE = (
    f"{_PAPER}, fine-tuning and comparison figures: after 10 M frames 1.39 at a sixth of the learning rate, 1.01 at "
    f"all of it, QDagger 1.15 ({_SCALE}); docs/findings.md: 1.03, 0.86 and 0.83 on four MinAtar games"
)
METHODS = (
    f"{_PAPER}, comparison figure: after 10 M frames QDagger 1.15, kickstarting 0.67, pre-training 0.64, DQfD 0.46, "
    f"rehearsal 0.45, scratch 0.39, JSRL 0.38 ({_SCALE}); docs/findings.md: above scratch on four of four "
    "tasks; 1.18 of DQN teachers, scratch 0.65, after 100,000 env steps"
)
KICKSTART = (
    f"{_PAPER}, n-step figure: 0.67 after 10 M frames, after a drop when λ ends ({_SCALE}); docs/findings.md: above "
    "scratch on MinAtar, no better on LunarLander"
)
DISTILLATION = (
    f"{_PAPER}, distillation figure: a teacher that stays pins the student to itself (after 30 M frames 1.12 without "
    "TD, 1.21 with, QDagger 1.87), but after 100,000 offline updates imitation leads (0.83 against 0.73); "
    "docs/findings.md: on four MinAtar games, after 4,750 updates online, 0.78 without TD, QDagger with the guard 0.65"
)
PRETRAIN = f"{_PAPER}, comparison figure: 0.64 after 10 M frames, rehearsal 0.45, scratch 0.39 ({_SCALE})"
REHEARSAL = (
    f"{_PAPER}, rehearsal figure: 0.45 with a share of 1/16 and n = 3, 0.39 without data ({_SCALE}); docs/findings.md: "
    "0.04 and 0.02 after 20,000 env steps"
)
RLPD = (
    "Ball et al. (2023): half of each batch from prior data, LayerNorm, nothing learnt offline first; "
    "docs/findings.md: 0.06, scratch 0.02 after 20,000 env steps"
)
ON_POLICY = (
    "Schmitt et al. (2018): kickstarting was made for on-policy students; Spigler (2025): weighed by PPO's ratio; "
    "studies/policies.yaml, LunarLander: kickstart 0.98, ppd 0.92, scratch -1.10; studies/mujoco_policies.yaml, "
    "HalfCheetah: 0.65, 0.29, 0.21 (teacher 1)"
)
CALQL = (
    "CORL's offline-to-online runs: antmaze 53 to 97 (IQL 56 to 79, AWAC 18 to 16), cloned Adroit -1 to -1 (IQL 22 to "
    "45); studies/logged.yaml, Pendulum from 2,000 logged env steps, five seeds: Cal-QL 0.91, AWAC 0.50, IQL 0.43, "
    "scratch 0.11 of the agent that logged them"
)
TD3BC = "Fujimoto & Gu (2021), offline; studies/logged.yaml: 0.11 of the agent that logged the data, scratch -0.23"
CLONE = (
    "Baker et al. (2022): RL held to a clone by a KL that decays; without it skills were lost; studies/logged.yaml: "
    "0.54 of the agent that logged the data, scratch 0.11"
)
ACTOR_RATE = "docs/methods/qdagger.md: an actor of 256, 256 was distilled at 1e-3, not 3e-4"
JSRL = (
    "Uchendu et al. (2023): made for exploration that is hard; "
    f"{_PAPER}, JSRL figure: no better than scratch (0.38 against 0.39) where it is not"
)
SCRATCH = f"the baseline of every study; {_PAPER}, comparison figure: 0.39 after 10 M frames ({_SCALE})"
REGIMES = "arXiv 2510.01460: stay near the better of policy and data (held in 45 of 63 settings, opposite in 3)"
OWN_PLAY_FIRST = (
    f"{REGIMES}; docs/findings.md: at the full learning rate 1.00 of the agent's score with a warm-up, 0.86 without"
)
USELESS = f"{_PAPER}, appendix A.3: by score λ = max(1 − G/G_T, 0) is 0 at once, and QDagger silently becomes DQN"
N_STEP = f"{_PAPER}, n-step figures: n = 3 alone recovers after weaning everywhere; kickstarting 0.67, n = 1: 0.32"
RATIO = f"{_PAPER}, configuration: 1 M updates offline, 625 k online; docs/methods/qdagger.md"
TEACHER_DATA = f"{_PAPER}, configuration: 1 M transitions for 2.5 M env steps; docs/findings.md: as many as the budget"
HASTY = (
    "docs/findings.md: weaning by score is hasty with evaluations of 20 episodes (LunarLander 4 of 5 runs, Breakout 3 "
    "of 5)"
)
GUARDED = (
    "docs/findings.md: on four MinAtar games the guard raised QDagger's final score from 0.4 to 0.7 of the teacher's, "
    "for weaning by score is hasty with evaluations of 20 episodes; where students had half their teachers' training "
    "it cost some of what they gained, 1.09 instead of 1.18"
)
WEAK = (
    f"{_PAPER}, teacher figure: after 30 M frames a student of a DQN of 20 M frames (0.33) reaches 1.31, of one of 400 "
    "M frames 1.91; for the weak one, as others quote it, τ = 1 was better"
)
RATE_KEPT = (
    "docs/findings.md: a kept rate is worth +0.04 and +0.07 under two weak teachers, nothing or less under better ones"
)
TEMPERATURE = f"docs/methods/kickstart.md: {_PAPER} has τ = 0.1, which suits action values of clipped Atari rewards"
HORIZON = f"docs/methods/jsrl.md: about as long as the task's episodes; {_PAPER}: 1,000 of 0 to 5,000 was best on Atari"
KEPT = f"{_PAPER}, code: fine-tuning restores optimiser and replay where the files have them"
WARMUP = "Zhou et al. (2025): about 5,000 env steps of the frozen policy"
LAYER_NORM = "Ball et al. (2023): LayerNorm keeps values of unseen actions bounded"
SCHEDULE = "docs/methods/scratch.md: the defaults are made for 50,000 env steps; here in proportion"
SYNCS = "studies/minatar.yaml: a sync every 500 updates for 12,250 of them"
NOISE = "CleanRL's Breakout teacher returns 38 to 426 in 50 episodes: ten of them make a poor scale"
OWN_PLAY = "docs/methods/kickstart.md: such teachers annotate while they watch, not afterwards"
BUDGET = (
    "docs/findings.md: students of 10,000 to 50,000 env steps hardly ever end above their teacher; those of half its "
    "own training did so surely on one game of four"
)
BETTER = (
    "studies/better.yaml, five seeds: PQN students of PPO policies, 1 M env steps of MinAtar, end "
    "at 0.90, 2.07, 1.06 and 1.67 of their teachers (Asterix, Breakout, Freeway, Seaquest) where these stay, whose own "
    "greedy play is worth 1.09, 1.60, 1.02 and 1.32 on that scale; weaned at half, with an anchor, at 1.17, 1.34, 1.05 "
    "and 1.56, without one at 0.85, 0.89, -0.01 and 0.87, from scratch at 1.66, 0.42, 0.26 and 0.23"
)
