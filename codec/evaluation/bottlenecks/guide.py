"""What each bottleneck does, when to choose it and what it costs: paragraphs of docs/bottlenecks.md, for reports."""

from __future__ import annotations

GUIDE = {  # systems -> Markdown
    ("simvq",): (
        "**simvq** (arXiv 2411.02038). Codes are a frozen random table behind one learned linear layer, so that "
        "every step moves all of them. Choose it for large codebooks at full width. Costs a D x D matrix to learn; "
        "searching projects the table. `trainable_codebook`, `codebook_init` and `bias` are the paper's ablations. "
        "`ste: dynamic` and `region: 1.0` are StableVQ's (2026): the first passes less gradient to the farther "
        "latents of a code; the second gives codes that nobody chose lately a share of a crowded neighbour's "
        "latents, which matters at 65,536 codes and more, and makes the host wait for the device once or twice a "
        "step."
    ),
    ("vq",): (
        "**vq** (VQ-VAE, arXiv 1711.00937). A learned table, straight-through. Only chosen codes move, and the "
        "others are left behind. Choose it to show what goes wrong. Costs a gradient of K x D."
    ),
    ("ema",): (
        "**ema** (the same paper, appendix). The table is a moving average of the latents that chose each code; no "
        "gradient, no codebook loss. What WavTokenizer and EnCodec train. Choose it as the strong plain baseline, "
        "with a k-means start. Costs a sum over K x D between processes at each step. Codes that nobody chooses any "
        "more shrink to zero."
    ),
    ("jukebox",): (
        "**jukebox** (arXiv 2005.00341). `ema`, and codes chosen less often than `restart_below` of even use start "
        "again from a random latent. Choose it where `ema` loses codes. Costs what `ema` costs, and latents "
        "gathered over processes."
    ),
    ("dare",): (
        "**dare** (after DARe-VQ, 2026). `ema`, and every `window` steps the codes that nobody chose split the "
        "clusters with the largest summed error: they start beside the centre, a tenth of the cluster's spread away. "
        "Choose it over `jukebox` where restarts at random latents do not last. Costs the same."
    ),
    ("cvq",): (
        "**cvq** (CVQ-VAE, arXiv 2307.15139). `vq`, and rarely chosen codes run after anchors among the latents of "
        "the step, which are drawn by the cosine (`probrandom`), the `closest`, or `random`. Choose it for a "
        "gradient-learned table without dead codes. Costs a comparison of all codes with all latents once more a step."
    ),
    ("rotation",): (
        "**rotation** (arXiv 2410.06424). `vq`, with the gradient rotated and scaled as the code is to the latent, "
        "instead of passed straight through. Choose it for images; StableVQ and others report that it hurts beside "
        "SimVQ. Costs nothing to speak of."
    ),
    ("huh",): (
        "**huh** (arXiv 2305.08842). `vq` with a learned scale and shift shared by the codes of a group "
        "(`affine_groups`), a share `sync` of the decoder's gradient for the codes, and `alternate_lr`, the codes' "
        "own step before each batch. SimVQ makes a full matrix of the first. Choose it to tell the three ideas "
        "apart. Costs next to nothing."
    ),
    ("factorized",): (
        "**factorized** (ViT-VQGAN, arXiv 2110.04627; DAC, arXiv 2306.06546). Look-up by cosine in `codebook_dim` "
        "(8) dimensions between two linear maps. What DAC and BigCodec use. Choose it for full use without tricks; "
        "the latent has 8 dimensions. Costs the least of all tables to search."
    ),
    ("vqgan_lc",): (
        "**vqgan_lc** (arXiv 2406.11837). A frozen table of features (here k-means centres of the latents, there of "
        "CLIP) behind a learned map into 8 dimensions. Choose it where good features exist. Costs as `factorized`."
    ),
    ("fsq",): (
        "**fsq** (arXiv 2309.15505). A few dimensions, each rounded to a few `levels` (8 and 4 where they are not "
        "given). No table, no loss, nothing to collapse. Choose it for simplicity. Costs nothing; the latent has as "
        "many dimensions as levels."
    ),
    ("lfq", "bsq"): (
        "**lfq** (arXiv 2310.05737) and **bsq** (arXiv 2406.07548). The signs of log2 K dimensions, on a cube or a "
        "sphere, with an entropy term for decided latents and even use, computed bit by bit: no N x K matrix. "
        "Choose them for very large K. Cost nothing."
    ),
    ("residual",): (
        "**residual** (RQ-VAE, arXiv 2203.01941). `codebooks` codes a frame from one shared table of moving "
        "averages, each for what the ones before left; K is the table's size to that power. Choose it for high "
        "rates. Costs a search in a small table for each stage; the choice is greedy."
    ),
    ("residual_simvq",): (
        "**residual_simvq**. The same with a SimVQ for each stage. Choose it over `residual` where shared moving "
        "averages lose codes. Costs a small table and a D x D matrix for each stage."
    ),
    ("qinco",): (
        "**qinco** (arXiv 2401.14732). Residual stages whose codes a small network adapts to what is decoded so "
        "far. Choose it for the least error at a given rate. Costs a run of the network for every code of every "
        "stage when encoding: for tables of some hundred codes. (The authors' code is not free for commerce; this "
        "is written from the equations.)"
    ),
    ("sqvae",): (
        "**sqvae** (arXiv 2205.07547). Stochastic choice with a learned variance, trained by mixtures of codes: a "
        "variational bottleneck without straight-through gradients. Choose it to learn without commitment weights. "
        "Costs an N x K matrix with its gradient."
    ),
    ("hqa",): (
        "**hqa** (arXiv 2002.08111). The first layer of hierarchical quantised autoencoders: relaxed one-hot "
        "samples, entropy and commitment in probability. Choose it beside `sqvae` to see what a learned variance is "
        "worth; it needs latents of free length (`model.encoder.unit_norm=false`), because its choices are "
        "softmax(-distance^2). Costs as `sqvae`. (The upper layers of the hierarchy model latents, not speech, and "
        "are left out.)"
    ),
    ("vqwae",): (
        "**vqwae** (arXiv 2302.05917). `vq` whose loss is the optimal transport between latents and codes with "
        "equal shares, by Sinkhorn's iteration instead of the paper's solvers. Choose it where even use matters "
        "most. Costs an N x K matrix and 20 passes over it."
    ),
    ("scvae",): (
        "**scvae** (arXiv 2303.16666). Sparse codes over a learned dictionary by 16 unrolled iterations. The "
        "published codes are real numbers; here the strongest atom and one of `gain_levels` gains make the token, K "
        "= atoms x gains. Choose it to see where dictionary learning stands. Costs 16 products with the dictionary "
        "a latent."
    ),
}


def paragraph(system: str) -> str | None:
    """Of a system of the registry, or of a variant of one, such as ``simvq-uniform``; None where there is none."""
    name = system.split("-")[0]
    return next((text for names, text in GUIDE.items() if name in names), None)
