"""What pykickstart and Python's shlex make of texts. Reads a JSON list of questions, prints a list of answers.

{"read": TEXT, "as": [VERSION, ...]}  ->  {VERSION: null or what is wrong, ...}
{"split": LINE}                       ->  the words, or null
"""

import json
import shlex
import sys
import warnings

from pykickstart.parser import KickstartParser
from pykickstart.version import makeVersion


def read(text, version):
    try:
        KickstartParser(makeVersion(version)).readKickstartFromString(text)
    except Exception as error:  # whatever it says, it does not take the text
        return f"{type(error).__name__}: {error}"
    return None


def split(line):
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return None


def answer(question):
    if "split" in question:
        return split(question["split"])
    return {version: read(question["read"], version) for version in question["as"]}


warnings.simplefilter("ignore")
json.dump([answer(question) for question in json.load(sys.stdin)], sys.stdout)
