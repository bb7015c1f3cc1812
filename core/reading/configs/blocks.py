"""The matrices of the common blocks: attention, gated and plain MLP, mixture of experts, latent attention."""

from core.models import Linear, Role, Shard

A, M = Role.ATTENTION, Role.MLP


def qkv_o(
    hidden: int, heads: int, kv_heads: int, qk_dim: int, v_dim: int, *, bias: bool = False, o_bias: bool = False
) -> tuple[Linear, ...]:
    """Fused query, key and value, and the output projection."""
    qkv = heads * qk_dim + kv_heads * (qk_dim + v_dim)
    return (
        Linear("qkv_proj", hidden, qkv, A, bias=bias),
        Linear("o_proj", heads * v_dim, hidden, A, Shard.ROW, bias=o_bias),
    )


def q_o(
    hidden: int, heads: int, qk_dim: int, v_dim: int, *, bias: bool = False, o_bias: bool = False
) -> tuple[Linear, ...]:
    """Attention that reads keys and values written elsewhere."""
    return (
        Linear("q_proj", hidden, heads * qk_dim, A, bias=bias),
        Linear("o_proj", heads * v_dim, hidden, A, Shard.ROW, bias=o_bias),
    )


def glu(hidden: int, inner: int, *, bias: bool = False, role: Role = M) -> tuple[Linear, ...]:
    """Gated MLP: 3·h·i parameters."""
    return (
        Linear("gate_up_proj", hidden, 2 * inner, role, bias=bias),
        Linear("down_proj", inner, hidden, role, Shard.ROW, bias=bias),
    )


def mlp(hidden: int, inner: int, *, bias: bool = False, role: Role = M) -> tuple[Linear, ...]:
    """Plain MLP: 2·h·i parameters."""
    return (
        Linear("up_proj", hidden, inner, role, bias=bias),
        Linear("down_proj", inner, hidden, role, Shard.ROW, bias=bias),
    )


def router(hidden: int, experts: int, *, bias: bool = False) -> Linear:
    """Scores of `experts` experts: h·E parameters, held whole by every rank."""
    return Linear("gate", hidden, experts, Role.ROUTER, Shard.REPLICATED, bias=bias)


def experts(
    hidden: int, inner: int, n: int, top_k: int, *, gated: bool = True, bias: bool = False
) -> tuple[Linear, ...]:
    """Routed experts without their router."""
    up = "experts.gate_up_proj" if gated else "experts.up_proj"
    return (
        Linear(up, hidden, (1 + gated) * inner, Role.EXPERT, Shard.COLUMN, bias, n, min(top_k, n)),
        Linear("experts.down_proj", inner, hidden, Role.EXPERT, Shard.ROW, bias, n, min(top_k, n)),
    )


def shared_expert(hidden: int, inner: int, *, gated: bool = True, bias: bool = False) -> tuple[Linear, ...]:
    """Experts every token visits, fused to one MLP; none when `inner` is 0."""
    if not inner:
        return ()
    build = glu if gated else mlp
    return build(hidden, inner, bias=bias, role=Role.SHARED_EXPERT)


def latent(
    hidden: int,
    heads: int,
    q_rank: int | None,
    kv_rank: int,
    nope: int,
    rope: int,
    v_dim: int,
    *,
    bias: bool = False,
    o_bias: bool = False,
) -> tuple[Linear, ...]:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434), norms apart."""
    qk = nope + rope
    query: tuple[Linear, ...]
    if q_rank:
        query = (
            Linear("q_a_proj", hidden, q_rank, A, Shard.REPLICATED, bias=bias),
            Linear("q_b_proj", q_rank, heads * qk, A),
        )
    else:
        query = (Linear("q_proj", hidden, heads * qk, A),)
    return (
        *query,
        Linear("kv_a_proj_with_mqa", hidden, kv_rank + rope, A, Shard.REPLICATED, bias=bias),
        Linear("kv_b_proj", kv_rank, heads * (nope + v_dim), A),
        Linear("o_proj", heads * v_dim, hidden, A, Shard.ROW, bias=o_bias),
    )


def latent_norms(q_rank: int | None, kv_rank: int) -> int:
    """Parameters of the norms on the query and key-value latents."""
    return (q_rank or 0) + kv_rank
