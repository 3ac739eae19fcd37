"""The command `estimate model`, the main job: what one model will cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from estimator.commands.limits import limit_option
from estimator.commands.options import code_options, scenario_options, strict_option

if TYPE_CHECKING:
    from estimator.footprint import Footprint
    from estimator.workload.crosscheck import CrossCheck

_LAYERS_SHOWN = 5


@click.command("model")
@click.argument("model")
@scenario_options()
@click.option(
    "--top", type=click.IntRange(min=0), default=None, metavar="N", help="Layers shown, as in --explain.  [default: 5]"
)
@click.option("--explain", is_flag=True, help="Show phases, layers and every assumption below the answer.")
@click.option("--cross-check", is_flag=True, help="Our FLOPs beside fvcore's and torch's own counter.")
@strict_option
@limit_option
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
@click.option("--trust", is_flag=True, help="Allow code inside the model file to run. Only for files you made.")
@code_options
def model_command(
    model: str,
    top: int | None,
    explain: bool,
    cross_check: bool,
    strict: bool,
    as_json: bool,
    trust: bool,
    **options: Any,
) -> None:
    """Say what MODEL (a file, file.py:Net, timm:NAME, ...) will cost.

    \b
    MODEL is one of
      a pickled nn.Module (.pt, .pth), or a torch.export program (.pt2)
      one of several models in a file, `gan.pt::generator`, `list.pt::0`
      a directory with the config.json of transformers or diffusers
      a factory, `file.py:Net` or `package.module:callable`: your code is run,
        with `--arg width=32`, or the hyper_parameters of `--checkpoint last.ckpt`
      timm:NAME, torchvision:NAME or transformers:DIR_OR_TYPE
      zoo:NAME, a model of those that `estimate zoo` lists
      mlp:INPUTxDEPTHxWIDTH, a fully connected network by its shape
    """
    from estimator.commands import early
    from estimator.lifecycle.scenario import Scenario
    from estimator.report.streams import stdout_to_stderr
    from estimator.sources import load
    from estimator.sources.arguments import given

    arguments_given = given(options.pop("arguments"), options.pop("checkpoint"))
    scenario = Scenario(**options)
    early.check(scenario, model)
    with stdout_to_stderr():  # it is the answer's alone
        from estimator.base.budget import spending
        from estimator.comparing.worth import of_larger_batch
        from estimator.footprint import Traces, estimate
        from estimator.inputs.chosen import chosen_inputs
        from estimator.inputs.guessed import refuse_guesses
        from estimator.sources.building import offline_and_quiet

        with offline_and_quiet(), spending():
            loaded = load(model, trust=trust, given=arguments_given)
            kept: Traces = {}
            footprint = estimate(loaded, scenario, kept=kept)
            if strict:
                refuse_guesses([(footprint.model.name, footprint.assumptions)])
            check = None
            if cross_check:
                from estimator.lifecycle.choices import with_dtype
                from estimator.workload.crosscheck import compare

                traced, _ = with_dtype(loaded, scenario)
                check = compare(loaded, chosen_inputs(loaded, traced).specs, traced.value_of("dtype"))
            batch = None if as_json else of_larger_batch(loaded, scenario, footprint, kept)
    if as_json:
        _print_json(footprint, check, top)
        return
    from estimator.report import glance, text

    glance.show(footprint, batch)
    if explain or top is not None:
        click.echo()
        text.show(footprint, _LAYERS_SHOWN if top is None else top)
    if check is not None:
        text.show_cross_check(check)


def _print_json(footprint: Footprint, check: CrossCheck | None, top: int | None) -> None:
    import json

    from estimator.report import contract

    answer = contract.to_dict(footprint, top)
    crossed = {} if check is None else {"cross_check": contract.of_cross_check(check)}
    click.echo(json.dumps(answer | crossed, indent=2))
