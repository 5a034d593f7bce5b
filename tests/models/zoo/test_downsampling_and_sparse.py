"""Downsampling, experts and halting: each beside its equation, and in a limit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import gelu
from torch.utils.flop_counter import FlopCounterMode
from zoo_cases import DIM, HEADS, config, hidden, part_class, randomised, same

from pyprof.models.zoo.encoder import Stack
from pyprof.models.zoo.loading import blueprint
from pyprof.models.zoo.parts import Embedding, FeedForward, positions
from pyprof.models.zoo.switch import balance


def part(name: str, **options: float) -> torch.nn.Module:
    torch.manual_seed(0)
    made: torch.nn.Module = part_class(name)(config(name), **options)
    return randomised(made).double().eval()


def tokens(length: int) -> Tensor:
    return torch.randint(1, 50, (2, length), generator=torch.Generator().manual_seed(length))


def test_charformer_mixes_blocks_of_characters_and_pools_them() -> None:
    module, ids = part("charformer", largest=3, rate=2), tokens(11)
    characters = module.tokens(ids) + positions(11, module.tokens(ids))
    mixed = []
    for i in range(11):
        blocks = [characters[:, i // b * b : i // b * b + b].mean(1) for b in (1, 2, 3)]
        weights = torch.softmax(torch.cat([module.block_score(block) for block in blocks], dim=-1), dim=-1)
        mixed.append(sum(weights[:, b : b + 1] * block for b, block in enumerate(blocks)))
    pooled = torch.stack([torch.stack(mixed[i : i + 2]).mean(0) for i in range(0, 11, 2)], dim=1)
    hidden_states, mask = module(ids)
    same(hidden_states, pooled, (module.tokens.weight, module.block_score.weight))
    assert mask is None


def test_charformer_without_blocks_and_pooling_is_the_plain_embedding() -> None:
    module, plain = part("charformer", largest=1, rate=1), Embedding(config()).double().eval()
    plain.tokens.load_state_dict(module.tokens.state_dict())
    same(module(tokens(11))[0], plain(tokens(11))[0])


def test_funnel_pools_queries_and_stretches_the_output() -> None:
    module, x = part("funnel", blocks=2), hidden(11).requires_grad_()
    first, second = module.layers
    h1 = first(x)
    pooled = torch.stack([h1[:, i : i + 2].mean(1) for i in range(0, 11, 2)], dim=1)
    attention = second.attention
    query = attention.split(attention.query(second.attention_norm(pooled)))
    normed = second.attention_norm(h1)
    weights = torch.softmax(query @ attention.split(attention.key(normed)).mT / DIM**0.5, dim=-1)
    h2 = pooled + attention.join(weights @ attention.split(attention.value(normed)))
    h2 = h2 + second.feedforward(second.feedforward_norm(h2))
    same(module(x), h1 + torch.stack([h2[:, i // 2] for i in range(11)], dim=1), (x,))


def test_funnel_of_one_block_is_the_plain_stack() -> None:
    module, plain = part("funnel", blocks=1), Stack(config()).double().eval()
    plain.load_state_dict(module.state_dict())
    same(module(hidden(11)), plain(hidden(11)))


@pytest.mark.parametrize("capacity", [0.5, 1.0, 10.0])
def test_switch_sends_each_token_to_one_expert_while_there_is_room(capacity: float) -> None:
    module, x = part("switch", experts=3, capacity=capacity), hidden(13).requires_grad_()
    shares = torch.softmax(x @ module.router.weight.T, dim=-1)
    most, rows = -(-13 * capacity // 3), []
    dropped = 0
    for sequence in range(2):
        full = [0, 0, 0]
        for i in range(13):
            expert = int(shares[sequence, i].argmax())
            inner = gelu(x[sequence, i] @ module.expand_weight[expert] + module.expand_bias[expert, 0])
            made = inner @ module.contract_weight[expert] + module.contract_bias[expert, 0]
            room, full[expert] = full[expert] < most, full[expert] + 1
            rows.append(made * shares[sequence, i, expert] * room)
            dropped += not room
    theirs = torch.stack(rows).view(2, 13, -1)
    same(module(x), theirs, (x, module.router.weight, module.expand_weight, module.contract_bias))
    assert (dropped > 0) == (capacity < 1)


def test_switch_with_one_expert_is_the_dense_feed_forward_part() -> None:
    module, dense = part("switch", experts=1, capacity=1.0), FeedForward(config()).double()
    dense.expand.weight.data, dense.expand.bias.data = module.expand_weight.data[0].T, module.expand_bias.data[0, 0]
    dense.contract.weight.data, dense.contract.bias.data = (
        module.contract_weight.data[0].T,
        module.contract_bias.data[0, 0],
    )
    same(module(hidden(13)), dense(hidden(13)))


def test_the_balance_loss_is_one_where_tokens_are_spread_and_the_experts_number_where_one_has_all() -> None:
    """The loss N sum_i f_i P_i."""
    even = torch.eye(4).repeat(3, 1)[None]
    assert balance(even, torch.full((1, 12, 4), 0.25), None).item() == pytest.approx(1)
    alone = torch.zeros(1, 12, 4)
    alone[..., 2] = 1
    assert balance(alone, alone, None).item() == pytest.approx(4)
    mask = torch.arange(12)[None] < 4
    assert balance(even * mask[..., None], torch.full((1, 12, 4), 0.25), mask).item() == pytest.approx(1)
    module = part("switch", experts=3, capacity=1.0)
    module(hidden(13))
    shares = torch.softmax(hidden(13) @ module.router.weight.T, dim=-1)
    sent = torch.stack([(shares.argmax(-1) == i).double().mean() for i in range(3)])
    assert module.balance_loss is not None
    same(module.balance_loss, 3 * (sent * shares.mean((0, 1))).sum())


def test_universal_adds_up_its_steps_until_each_position_halts() -> None:
    module, x = part("universal"), hidden(11).requires_grad_()
    module.steps = 5
    output, state = [torch.zeros(2, HEADS * DIM, dtype=x.dtype) for _ in range(11)], x
    done = [[0.0] * 11, [0.0] * 11]
    early = 0
    for step in range(5):
        state = module.layers[0](state + positions(11, x) + positions(1, x, start=step))
        share = torch.sigmoid(module.halt(state))
        for row in range(2):
            for i in range(11):
                left = 1 - done[row][i]
                if left <= 0:
                    early += 1
                    continue
                last = step == 4 or done[row][i] + share[row, i, 0] > 0.99
                part_of = left if last else share[row, i, 0]
                output[i] = output[i] + torch.eye(2, dtype=x.dtype)[row][:, None] * part_of * state[:, i]
                done[row][i] = done[row][i] + part_of
    assert early > 0
    same(module(x), torch.stack(output, dim=1), (x, module.halt.weight))


def test_universal_that_never_halts_is_the_layer_applied_again_and_again() -> None:
    module, x = part("universal"), hidden(11)
    module.halt.weight.data.zero_()
    module.halt.bias.data.fill_(-1e4)
    state = x
    for step in range(2):
        state = module.layers[0](state + positions(11, x) + positions(1, x, start=step))
    same(module(x), state)
    assert len(module.layers) == 1


def cost(name: str) -> tuple[int, int]:
    """Parameters of the small model, and the floating-point operations of a forward over 512 tokens."""
    with FakeTensorMode():
        plan = blueprint(name, "small")
        module = plan.model(plan.config).eval()
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            module(torch.zeros(1, 512, dtype=torch.long))
    return sum(each.numel() for each in module.parameters()), counter.get_total_flops()


def test_the_order_by_parameters_is_not_that_by_operations() -> None:
    """Dehghani et al., "The Efficiency Misnomer", figure 1: sharing saves only parameters, and experts cost them."""
    dense, universal, switch = map(cost, ("dense", "universal", "switch"))
    assert universal[0] < 0.4 * dense[0] < 0.2 * switch[0]
    assert universal[1] == pytest.approx(dense[1], rel=0.01)
    assert dense[1] < switch[1] < 1.25 * dense[1]
