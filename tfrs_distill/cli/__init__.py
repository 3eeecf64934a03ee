"""The command line: parse, call one public function, print.

Heavy packages (TensorFlow, rich, NumPy) are imported only by the commands that need them, so
`--help` is fast and `recommend` from a `.tflite` file never imports TensorFlow.

- `command_line.py`: parse the arguments, call a command, and say what the user can correct
- `commands/`: one file per command; `add` describes it to the parser
- `options.py`: options that several commands have, and the recipe that they name
- `terminal.py`: where tables and sentences are printed
- `import_pipeline.py`: import the pipeline, and with it TensorFlow, without its messages
"""

from tfrs_distill.cli.command_line import INTERRUPTED, USERS_ERROR, main

__all__ = ["INTERRUPTED", "USERS_ERROR", "main"]
