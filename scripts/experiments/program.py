"""The command line of a catalogue of experiments."""

import pathlib
from collections.abc import Mapping

from absl import flags

from tlstm_jax.scripts import cli
from tlstm_jax.scripts.experiments.experiment import Experiment, runs_of
from tlstm_jax.scripts.experiments.page import Page, write_page
from tlstm_jax.scripts.experiments.running import train_all


class Program:
    """Flags, and what is done with them.

    Attributes:
      page: what its page begins with.
      experiments: by name, in the order in which they are worked off.
    """

    def __init__(self, page: Page, experiments: Mapping[str, Experiment]) -> None:
        self.page, self.experiments = page, experiments
        workdir = f"runs/{page.name}"
        self._workdir = cli.define_path_flag("workdir", workdir, "Folder of the runs.")
        self._output = cli.define_path_flag("output", "docs", "Folder of the page and pictures.")
        self._only = flags.DEFINE_list("only", [], "Which experiments or rows, as --list has them.")
        self._minutes = flags.DEFINE_float(
            "minutes", None, "Stop and save after about so many.", 0.0
        )
        self._jobs = flags.DEFINE_integer(
            "jobs", 2, "Models trained at the same time; 1 where there is one accelerator.", 1
        )
        self._data = {
            "data_dir": cli.define_path_flag("data_dir", None, "Folder of images, as for train."),
            "data_path": cli.define_path_flag("data_path", None, "A text, as for train."),
        }
        self._list = flags.DEFINE_bool("list", False, "Prints the experiments and exits.")

    def main(self) -> int:
        with cli.one_line_errors():
            workdir = pathlib.Path(self._workdir.value)
            runs = runs_of(workdir, self.experiments, self._only.value)
            if self._list.value:
                for run in runs:
                    print(f"{run.row}: {run.model}; {run.state}")
                return 0
            minutes = self._minutes.value
            if minutes is not None and not minutes >= 0:  # NaN
                raise ValueError(f"minutes is {minutes}; accepted are numbers >= 0")
            data = {name: flag.value for name, flag in self._data.items() if flag.value}
            failed = train_all(runs, jobs=self._jobs.value, minutes=minutes, data=data)
            runs = runs_of(workdir, self.experiments)
            if any(run.members for run in runs):
                print(f"page: {write_page(pathlib.Path(self._output.value), self.page, runs)}")
            else:
                print(f"no page: {workdir} holds no runs")
            if failed:
                more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
                raise ValueError(f"{failed[0]}{more}")
        return 0
