"""``mitogen call``: a function, given by name, in some places. Ring 2."""

import argparse
import json
import os
import sys
from typing import Any

import mitogen.cli
import mitogen.commands.fleet as fleets
import mitogen.commands.target
import mitogen.utils
from mitogen.commands.fleet import Fleet, Place


def run(options: argparse.Namespace) -> int:
    """Carry it out; return the exit status."""
    args = [mitogen.cli.parse_value(text) for text in options.args]
    module, path = options.function
    # The installed command has its own folder there instead, and nobody's modules are in that.
    sys.path.insert(0, os.getcwd())
    in_child = mitogen.commands.target.call_for_json if options.json else mitogen.utils.call_and_show

    def work(fleet: Fleet, place: Place) -> Any:
        context = mitogen.cli.connect_place(fleet, place)
        fleet.router.bring_code(context, module)
        return context.call(in_child, module, path, *args)

    def show(place: Place) -> None:
        if options.json:
            fleets.show_json(place, **({} if place.error else {'result': json.loads(place.result)}))
        elif place.error:
            fleets.show_error(place, fleet.several)
        else:
            print((place.hops + ': ' if fleet.several else '') + place.result, flush=True)

    fleet = Fleet(options.on or ['local'], options, work, show)
    return fleet.run()
