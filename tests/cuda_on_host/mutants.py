"""Bugs that are planted in the kernels, by the names that csrc/window_attention/mutant.h gives them.

A program with mutants has them all: which one is on is said when it starts.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import test_hopper_kernels
import test_mma_kernels
import test_mma_one_pass
import test_plain_kernels
from building import ASAN, PLAIN, ROOT, TSAN, Variant, Workshop, run

SOURCES = ROOT / "csrc/window_attention"
ORDERS = ((), ("--reversed",))  # of the threads in a block and of the blocks
_PLACE = re.compile(r"\bPYPROF_MUTANT\(\s*(\w+)\s*,")


@dataclass(frozen=True)
class Mutant:
    """One name, and the variant of the program in which the cases have to fail when it is on."""

    name: str
    variant: Variant


@dataclass(frozen=True)
class Family:
    """The kernels that one program runs, the cases that have to find their mutants, and these, by variant."""

    program: str
    files: str  # a pattern
    cases: tuple[str, ...]
    names: Mapping[Variant, tuple[str, ...]]
    not_files: str = ""  # a pattern of those that are another family's

    def mutants(self) -> list[Mutant]:
        return [Mutant(name, variant) for variant, names in self.names.items() for name in names]

    def paths(self) -> list[Path]:
        return sorted(set(SOURCES.glob(self.files)) - set(SOURCES.glob(self.not_files or "none")))

    def run(self, workshop: Workshop, variant: Variant, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(workshop.program(self.program, variant, mutants=True), self.cases, *arguments)

    def run_with(self, mutant: Mutant, workshop: Workshop) -> list[subprocess.CompletedProcess[str]]:
        """In either order, the second only where the first has no complaint."""
        done: list[subprocess.CompletedProcess[str]] = []
        for order in ORDERS:
            if not any(complaint(one, mutant.variant) for one in done):
                done.append(self.run(workshop, mutant.variant, f"--mutant={mutant.name}", *order))
        return done


def places(paths: Iterable[Path]) -> list[str]:
    """The name at each place of these files, in order."""
    return [name for path in paths for name in _PLACE.findall(path.read_text())]


def complaint(done: subprocess.CompletedProcess[str], variant: Variant) -> str:
    """What was found, in the words of who is there to find it; a program that fails in another way found nothing."""
    if done.returncode == 0:
        return ""
    if variant == ASAN:
        words = r"ERROR: AddressSanitizer: .*|.*: runtime error: .*"
    elif variant == TSAN:
        words = r"WARNING: ThreadSanitizer: data race.*"
    else:
        words = r"^.*length=\d.*: (?:lse|output|grad_\w+) .*|^emulation: .*"
    found = re.search(words, done.stdout + done.stderr, re.MULTILINE)
    return found[0] if found else ""


PLAIN_KERNELS = Family(
    "plain_small",
    "plain*",
    tuple(test_plain_kernels.SMALL),
    {
        PLAIN: (
            "first_key_is_lost",
            "a_key_too_many",
            "last_keys_of_the_last_rows_are_lost",
            "dropout_draws_for_other_keys",
            "sums_are_not_scaled_to_a_larger_score",
            "rows_that_saw_nothing_yet",
            "log_sum_exp_in_powers_of_two",
            "wrong_sign_of_the_weights_sum",
            "left_is_taken_for_right",
            "queries_before_the_tile_are_lost",
            "only_the_first_head_counts",
            "more_keys_than_there_are",
            "dropout_is_of_another_query",
            "the_seed_is_not_taken",
            "tile_is_read_before_it_is_there",
            "unseen_values_are_multiplied",
            "unseen_keys_are_multiplied",
            "unseen_queries_are_multiplied",
            "scores_of_minus_infinity_are_no_keys",
        ),
        ASAN: ("rows_past_the_end_are_read", "statistics_past_the_end_are_written"),
        TSAN: ("tile_is_overwritten_while_it_is_read",),
    },
)
MMA_KERNELS = Family(
    "mma_small",
    "mma*",
    tuple(test_mma_kernels.SMALL),
    {
        PLAIN: (
            # The band.
            "band_begins_a_key_early",
            "band_ends_a_key_early",
            "key_length_is_ignored_in_the_last_group",
            "group_counts_as_whole_too_early",
            "last_rows_group_is_lost",
            "last_stage_is_lost",
            "last_group_is_lost",
            "first_group_is_lost",
            "stages_begin_between_groups",
            "left_is_taken_for_right",
            "pass_does_a_group_too_many",
            # Global keys.
            "leading_keys_are_none",
            "a_leading_key_counts_twice",
            "a_leading_key_too_many",
            "spoiled_rows_forget_leading_keys",
            "last_query_of_the_band_counts_twice",
            "last_piece_is_lost",
            "spoiled_global_sums_are_left",
            "global_keys_miss_the_scale",
            # Tiles and fragments.
            "swizzles_disagree",
            "fragments_are_swapped",
            "quarters_of_an_operand_are_swapped",
            "tile_is_not_transposed",
            "heads_stride_is_a_rows",
            # Softmax and its statistics.
            "sums_are_not_scaled_to_a_larger_score",
            "total_is_not_scaled_to_a_larger_score",
            "rows_that_saw_nothing_yet",
            "log_sum_exp_in_powers_of_two",
            "heads_of_a_group_read_another_key",
            "wrong_sign_of_grad_lse",
            "wrong_sign_of_delta",
            "delta_misses_half_a_row",
            # Gradients.
            "dropouts_scale_is_missing_for_the_key",
            "dropouts_scale_is_missing_for_the_value",
            "the_scale_is_missing_for_the_query",
            "keys_that_take_no_part_get_a_gradient",
            "only_the_first_head_of_a_group_counts",
            "next_head_begins_where_the_last_one_ended",
            # What is not finite.
            "spoiled_outputs_are_left",
            "spoiled_grad_queries_are_left",
            "spoiled_grad_keys_are_left",
            "spoiled_outputs_see_less",
            "spoiled_rows_are_not_dropped",
            "scores_of_minus_infinity_are_no_keys",
            # Dropout.
            "lanes_of_a_quad_draw_the_same",
            "keys_of_a_quad_draw_the_same",
            "the_seed_is_not_taken",
            # Stages.
            "stage_is_read_before_it_is_there",
            "first_stage_is_read_before_it_is_there",
            "the_other_stage_is_read",
            "statistics_of_both_stages_share_a_place",
            # Forward in wide windows.
            "wide_fragments_are_swapped",
            "wide_values_are_not_transposed",
            "wide_quarters_of_an_operand_are_swapped",
            "wide_lower_tile_is_masked_as_the_upper",
            "wide_lower_tile_drops_as_the_upper",
            "wide_rows_that_saw_nothing_yet",
            "wide_total_is_not_scaled",
            "wide_sums_are_not_scaled",
            "wide_scores_of_minus_infinity_are_no_keys",
            "wide_log_sum_exp_in_powers_of_two",
            "wide_signs_are_left",
            "wide_heads_of_a_group_read_another_key",
            "wide_first_stage_is_read_before_it_is_there",
            "wide_stage_is_read_before_it_is_there",
            "wide_the_next_stage_is_read",
            "wide_passes_begin_anywhere",
            "wide_spoiled_outputs_are_left",
            "wide_spoiled_rows_of_the_lower_tile_are_left",
        ),
        # Rows of NaN that it reads from below the end of a tensor are made good, as any that are not seen.
        ASAN: ("rows_past_the_end_are_read", "rows_past_the_end_are_written", "statistics_past_the_end_are_read"),
        TSAN: (
            "rows_are_stored_before_all_lanes_wrote",
            "stage_is_overwritten_while_it_is_read",
            "keys_are_overwritten_while_they_are_read",
            "queries_are_overwritten_while_they_are_read",
            "later_queries_are_overwritten_while_they_are_read",
            "leading_keys_are_overwritten_while_they_are_read",
            "wide_stage_is_overwritten_while_it_is_read",
            "wide_signs_are_read_before_they_are_there",
            "wide_warps_store_through_the_same_rows",
        ),
    },
    not_files="mma_one_pass*",
)
ONE_PASS = Family(
    "mma_one_pass_small",
    "mma_one_pass*",
    tuple(test_mma_one_pass.FEW),
    {
        PLAIN: (
            "one_pass_first_keys_are_lost",
            "one_pass_last_block_is_lost",
            "one_pass_grads_are_not_transposed",
            "one_pass_scale_is_missing",
            "one_pass_keys_that_take_no_part_get_a_gradient",
            "one_pass_queries_without_keys_are_left",
            "one_pass_spoiled_grad_keys_are_left",
            "one_pass_spoiled_grad_queries_are_left",
            # The sum over blocks.
            "one_pass_blocks_wait_for_later_ones",
            "one_pass_turns_begin_anywhere",
            "one_pass_parts_are_added_out_of_turn",
            "one_pass_the_first_one_adds",
            "one_pass_parts_are_not_added",
            "one_pass_sums_are_not_fenced",
            "one_pass_item_is_read_before_it_is_there",
            "one_pass_stage_is_read_before_it_is_there",
        ),
        ASAN: (),
        TSAN: (
            "one_pass_turn_is_waited_for_without_acquire",
            "one_pass_turn_is_published_without_release",
            "one_pass_sums_are_read_before_it_is_their_turn",
            "one_pass_turn_is_published_before_all_lanes_wrote",
            "one_pass_grads_are_read_before_they_are_there",
            "one_pass_grads_are_overwritten_while_they_are_read",
        ),
    },
)
HOPPER_KERNELS = Family(
    "hopper_small",
    "hopper*",
    tuple(test_hopper_kernels.SMALL),
    {
        PLAIN: (
            "tiles_are_not_aligned",
            "hopper_tiles_split_quads",
            "hopper_heads_of_a_group_read_another_key",
            "hopper_tile_counts_as_whole_too_early",
            "hopper_total_is_not_scaled",
            "hopper_sums_are_not_scaled",
            "hopper_band_ends_a_key_late",
            "hopper_what_is_masked_shows",
            "hopper_scores_of_minus_infinity_are_no_keys",
            # Slots, barriers and products that are not waited for.
            "slot_is_filled_while_it_is_read",
            "query_is_overwritten_while_it_is_read",
            "slot_is_read_before_it_is_there",
            "query_is_read_before_it_is_there",
            "one_warp_releases_a_slot_for_all",
            "scores_are_read_before_they_are_there",
            "values_are_released_before_they_are_used",
            "sums_are_scaled_before_they_are_there",
            # Backward: which keys and queries meet, and what they get.
            "hopper_band_ends_a_query_late",
            "hopper_tile_of_queries_counts_as_whole_too_early",
            "hopper_only_the_first_head_counts",
            "hopper_dropouts_scale_is_missing",
            "hopper_spoiled_gradients_are_left",
            # Its slots, products and fences.
            "hopper_keys_are_overwritten_while_they_are_read",
            "hopper_keys_are_read_before_they_are_there",
            "hopper_tile_is_overwritten_while_it_is_read",
            "hopper_tile_is_read_before_it_is_there",
            "hopper_cleared_keys_are_not_fenced",
            "hopper_scores_are_used_too_early",
            "hopper_reached_is_used_too_early",
            "hopper_shared_grads_are_not_fenced",
            "hopper_warpgroups_do_not_meet",
            "hopper_one_buffer_of_grads",
            # Tiles that one of the warpgroups does not see.
            "hopper_last_key_of_a_warpgroup_sees_nothing",
            "hopper_assistants_do_not_meet",
            "hopper_assistants_take_their_own_keys",
            "hopper_grads_that_are_not_there_are_added",
            # The sum over blocks.
            "hopper_blocks_wait_for_later_ones",
            "hopper_buffer_is_filled_too_early",
            "hopper_sums_are_not_fenced",
            "hopper_sums_are_sent_before_they_are_there",
            "hopper_one_warp_hands_over_for_all",
            "hopper_turns_are_not_fenced",
            "hopper_sums_are_not_added",
            "hopper_sums_are_not_waited_for",
            "hopper_sums_are_not_shown",
            # Narrow windows in one launch.
            "hopper_narrow_band_ends_a_query_early",
            "hopper_narrow_band_ends_a_key_late",
            "hopper_narrow_keys_that_take_no_part_count",
            "hopper_narrow_spoiled_keys_are_left",
            "hopper_narrow_spoiled_queries_are_left",
            "hopper_narrow_cleared_keys_are_not_fenced",
            "hopper_narrow_rows_are_read_before_they_are_there",
            "hopper_narrow_scores_are_used_too_early",
            "hopper_narrow_reached_is_used_too_early",
            "hopper_narrow_sums_are_used_too_early",
            "hopper_narrow_statistics_are_read_too_early",
            "hopper_narrow_only_the_first_head_counts",
            "hopper_narrow_sums_begin_anew_with_each_head",
            "hopper_narrow_later_heads_are_not_waited_for",
            "hopper_narrow_head_is_overwritten_while_it_is_read",
        ),
        ASAN: ("hopper_rows_past_the_end_are_written",),
        # Nothing else finds them: results are right, here and for a long time on a GPU.
        TSAN: ("hopper_keys_are_released_before_all_lanes_are_done", "hopper_narrow_heads_share_statistics"),
    },
)
FAMILIES = (PLAIN_KERNELS, MMA_KERNELS, ONE_PASS, HOPPER_KERNELS)
