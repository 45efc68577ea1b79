"""The errors a user can meet. The command line turns each into one clear line.

    ExcelCamError            exit status 1
    ├── UsageError           exit status 2: the command itself cannot be right
    ├── SettingsError        a setting is out of range or contradicts another
    ├── DataError            a data set, list or tags file is not as expected
    │   └── ImageError       one image cannot be read; a run records it and goes on
    ├── KnowledgeError       a knowledge base is not as expected
    ├── LanguageModelError   a language model cannot be asked, or does not answer
    ├── ModelError           a model cannot work, or its weights do not fit or cannot be had
    ├── MachineError         the machine fails: disk, network, memory, open files; no file is at fault
    └── OutputError          labels cannot be written, or would be mixed with others

Every message says what was expected, what came, and what to do, in one line.
"""


class ExcelCamError(Exception):
    """Base of all errors a user can mend; its text is shown as it is.

    >>> try:
    ...     Settings(size=8)
    ... except ExcelCamError as error:
    ...     print(error)
    size is 8; expected between 32 and 4096 pixels
    """

    exit_code = 1


class UsageError(ExcelCamError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class SettingsError(ExcelCamError):
    """A setting is out of range or contradicts another."""


class DataError(ExcelCamError):
    """A data set, list, class list or tags file is not as expected."""


class ImageError(DataError):
    """One image cannot be read."""


class KnowledgeError(ExcelCamError):
    """A knowledge base is not as expected."""


class LanguageModelError(ExcelCamError):
    """A language model cannot be asked, or does not answer."""


class ModelError(ExcelCamError):
    """A model cannot work here, or its weights do not fit or cannot be had."""


class MachineError(ExcelCamError):
    """The machine fails: its disk, network, memory or open files. No file is at fault, so a run does not go on."""


class OutputError(ExcelCamError):
    """Labels cannot be written, or would be mixed with labels made otherwise."""


def not_finite(what: str, precision: str, options: str = "--model or --weights") -> ModelError:
    """The error that `what` a model makes, "the model's maps" say, are not finite; options: those that name weights."""
    if precision == "fp32":
        return ModelError(
            f"{what} are not finite even in fp32 (--precision fp32, the widest there is): its weights are damaged or "
            f"too large to compute with; take others with {options}"
        )
    return ModelError(
        f"{what} are not finite in {precision}: its values pass what {precision} can hold; use --precision fp32"
    )
