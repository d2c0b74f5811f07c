"""Commands beside train.py: ``python -m lam_sb extract ...``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from functools import partial

from lam_sb import arguments
from lam_sb.command_line import (
    HELP,
    check_arguments,
    file_keys,
    is_verbose,
)
from lam_sb.config import check
from lam_sb.console import begin, console
from lam_sb.errors import UserError
from lam_sb.study.tuned_keys import check_tuning

USAGE = """\
usage: python -m lam_sb COMMAND FILE.yaml [--key value ...] [--verbose]
       python -m lam_sb align CORPUS [--language CODE] [--output FOLDER]
       python -m lam_sb check CORPUS
       python -m lam_sb compare RUN RUN
       python -m lam_sb contribute SPEECHBRAIN_TREE
       python -m lam_sb export RUN [RUN ...] FOLDER
       python -m lam_sb predict MODEL FILE_OR_FOLDER [...] --csv OUT.csv

  check      say what would be kept of a corpus, and what to mend
  align      write approximate TextGrids of a corpus whose texts are known
  extract    encode both corpora of a system's file into the feature store
  analyse    compare both corpora layer by layer, and select layers to anchor
  reproduce  run a study's file, and write its tables and report
  tune       choose settings of a system's file without labels of the target
  compare    say by how much one system is better than another
  export     write finished runs as a model that SpeechBrain loads
  contribute write this recipe into a clone of SpeechBrain
  predict    classify audio files with an exported model

python -m lam_sb COMMAND --help explains one; with a file, also its keys.
A single system is trained by python train.py FILE.yaml."""
ALIGN = """\
usage: python -m lam_sb align CORPUS [--language CODE] [--output FOLDER]

CORPUS is a folder with a labels.csv that has the columns path, text and
language. eSpeak NG speaks each text, and dynamic time warping carries its phone
times over to the recording. Writes TextGrids/<path>.TextGrid into the corpus,
where its reader finds them, with tiers of words and of phones in eSpeak NG's
IPA. Their times are approximate, and each report on them says so. The same
command goes on where it was stopped; to make them anew, delete them.

Options:
  --language CODE   language of all texts (en, de, it, zh, ...), instead of the
                    column
  --output FOLDER   another place, which the reader's option alignment_dir names
  --verbose         show all that is logged"""
COMPARE = """\
usage: python -m lam_sb compare RUN RUN [--verbose]

Says by how much the first is better than the second, with a 95 % interval over
speakers and seeds and a two-sided p, in one sentence and as JSON. Each is the
folder of a run or of a system with all its seeds, or a pattern in quotes:

  python -m lam_sb compare results/small_lam_gl/ravdess-emodb \\
      results/small_layer_atn/ravdess-emodb"""
CHECK = """\
usage: python -m lam_sb check CORPUS [--name NAME] [--options YAML]
       [--protocol NAME] [--verbose]

Reads a corpus as a run would (a folder with a labels.csv, or one that data_prep
has a reader for), decodes its audio, and prints which rows would be kept and
dropped, why, splits, speakers, emotions and durations, and what to mend first.
Writes nothing.

  python -m lam_sb check /corpora/mine
  python -m lam_sb check /corpora/mine --options "{label_map: {joy: happy}}"

Options:
  --name NAME      the corpus's name, which chooses its reader (the folder's)
  --options YAML   of its reader, as source_options
  --protocol NAME  speakers or transductive, as in a system's file
  --verbose        show all that is logged"""
CONTRIBUTE = """\
usage: python -m lam_sb contribute SPEECHBRAIN_TREE [--verbose]

Writes the recipe into a clone of SpeechBrain, as its own tests want it:

  recipes/MSP-BIIC-Podcast/cross_lingual_ser/  train.py, data_prep, README.md,
      and each system as one plain YAML, without bases and keys that idle in it
  tests/recipes/MSP-BIIC-Podcast.csv           a row for each YAML
  tests/samples/MSP-BIIC-Podcast/              manifests of SpeechBrain's own
      samples, and encoders of random weights, for the tests of these rows

  git clone https://github.com/speechbrain/speechbrain
  python -m lam_sb contribute speechbrain
  cd speechbrain && pytest tests/consistency"""
EXPORT = """\
usage: python -m lam_sb export RUN [RUN ...] FOLDER [--target NAME]
       [--encoder_source ID] [--onnx=True] [--verbose]

Writes finished runs, results/<experiment>/<source>-<target>/<seed>, as a model
that classifies other speech: a folder with hyperparams.yaml, model.safetensors,
label_encoder.txt, custom_interface.py and a model card, README.md. It holds no
audio, file or speaker names, and no weights of the encoder. Several runs that
differ in their seed alone become one model, which averages their posteriors.

  python -m lam_sb export results/small_lam_plus/ravdess-emodb/0 my_model \\
      --encoder_source openai/whisper-base
  python -m lam_sb predict my_model speech.wav --csv emotions.csv

Options:
  --target NAME        which target's statistics, of a run with several
  --encoder_source ID  Hugging Face id of the encoder, if it was read from a
                       folder: nobody else has that
  --onnx=True          write model.onnx too, from the encoder's layers to the
                       posteriors (takes ten seconds an epoch and seed that is
                       averaged, and pip install -e ".[onnx]")
  --verbose            show all that is logged"""
PREDICT = """\
usage: python -m lam_sb predict MODEL FILE_OR_FOLDER [...] --csv OUT.csv
       [--adapt=True] [--min_confidence X] [--plot=True] [--encoder_source ID]
       [--device NAME] [--verbose]

Classifies audio files, of any rate and length, with a folder that export wrote
or an id of the Hugging Face hub. Files above 8 seconds are cut into equal
windows of 4 to 8. Leaves a row for each window: path, start, end (seconds),
label, the posteriors of neutral, happy, angry and sad, and confidence, which is
the largest of them. The same command goes on where it was stopped.

Options:
  --csv OUT.csv         where the rows go
  --adapt=True          standardise by the statistics of these files (at least
                        20 windows) instead of the training's: it helps on
                        another language or microphone; not for a model of
                        normalise: none
  --min_confidence X    the label is "unsure" below it, from 0 to 1
  --plot=True           draw the posteriors of each file of several windows
                        above its waveform, in a folder beside OUT.csv
  --encoder_source ID   folder or Hugging Face id of the model's encoder, if it
                        is not found by itself
  --device NAME         cpu or cuda:1
  --verbose             show all that is logged"""
EXTRACT = """\
usage: python -m lam_sb extract FILE.yaml [--key value ...] [--verbose]

Prepares both corpora of a system's file (hparams/*.yaml) and encodes what the
feature store lacks. Jobs that train afterwards only read it. Started by
torchrun, the processes share the work:

  torchrun --nproc_per_node 4 -m lam_sb extract hparams/lam_gl_wavlm.yaml \\
      --data_folder /corpora

Keys are those of the file. The ones that decide what is encoded, and how:
  --data_folder, --source, --target   the corpora
  --encoder_source                    Hugging Face id or folder of the encoder
  --feature_folder                    where the store lies
  --time_chunks, --final_norm, --whisper_context, --extract_precision,
  --storage_dtype                     what is stored
  --extract_batch_seconds             how much speech is encoded at once
  --extract_workers                   threads that read audio meanwhile
--device cpu or --device cuda:1 chooses the device."""
ANALYSE = """\
usage: python -m lam_sb analyse FILE.yaml [--key value ...] [--verbose]

Measures on the training rows of both corpora of a system's file
(hparams/*.yaml) how alike each layer is, and selects layers to anchor. Leaves
similarity.csv, selection.json and Figure 1 in
results/analysis/<encoder>/<source>-<target>/, where
--anchor_layers group (or best, worst) of train.py finds them.

Keys are those of the file. The ones that decide the selection:
  --similarity           centroid, pairwise, centred or covariance
  --use_target_labels    True looks at the target's emotions, as the paper does;
                         False needs no target labels
  --target_rows          four (labelled with one of the emotions) or all
  and those that choose corpora and encoder: see extract --help."""
REPRODUCE = """\
usage: python -m lam_sb reproduce STUDY.yaml [--key value ...] [--verbose]

Runs what a study's file (hparams/study/*.yaml) names and is not done yet, and
writes results/study/<study>/report.html and table1 to table3 as .md, .tex and
.csv. The same command goes on where it was stopped.

Keys of a study; hparams/study/table2.yaml explains all of them:
  --corpora             names, "[msp_podcast, biic_podcast]"
  --directions          pairs "[[source, target], ...]"; all if not given
  --leave_one_out True  adds all others as the sources of each corpus
  --encoders            short names, "{whisper: openai/whisper-base}"
  --systems             some of the file's, "[cc, lam_gl]", or others by name,
                        each with keys of its own, "{lam_gl: {}}"
  --seeds               their number, or a list
  --jobs                runs at the same time
  --cluster             local or slurm; with --partition, --gpus, --cpus,
                        --minutes, --requeue and --sbatch "{account: me}"
  --study, --experiment names of the report's and the runs' folders
  --include             folders of more results to show, "[results/mine]"
  --keep_weights        False removes the weights of each run that is done
  --dry_run             True says what is to be done, and stops
  --print_commands      True prints the commands that are to be run, and stops
  --report_only         True reports what is there, and stops
Any other key goes to all runs (--data_folder /corpora, --normalise domain), and
so do SpeechBrain's options."""
TUNE = """\
usage: python -m lam_sb tune FILE.yaml --grid "{key: [value, ...], ...}"
       [--key value ...] [--verbose]

Tries all combinations of the grid's values on the source corpora: each is left
out in turn, adapted to as an unlabelled target and scored, so that no label of
the target is read, nor the target itself. Of one source, its speakers are left
out, which does not see a change of language. Prints the table, writes a report
and, as tuned.yaml, the best settings over FILE.yaml:

  python -m lam_sb tune hparams/small/lam_gl.yaml --data_folder /corpora \\
      --source "[ravdess, emovo, savee]" --grid "{gamma: [0, 0.1, 0.5]}" \\
      --encoder_source openai/whisper-base

Keys beside those of the file:
  --grid                values to try by key, of which all combinations are run
  --seeds               their number (5), or a list
  --jobs                runs at the same time
  --cluster             local or slurm, with its keys: see reproduce --help
  --keep_weights        True keeps the weights of each run
  --dry_run             True says what is to be done, and stops
  --print_commands      True prints the commands that are to be run, and stops
  --report_only         True chooses by what is there"""
# Function and help of each command; functions are imported when called.
COMMANDS = {
    "align": ("lam_sb.forced_alignment.align:align", ALIGN),
    "extract": ("lam_sb.commands:extract", EXTRACT),
    "analyse": ("lam_sb.commands:analyse", ANALYSE),
    "reproduce": ("lam_sb.study.reproduce:reproduce", REPRODUCE),
    "tune": ("lam_sb.study.tune:tune", TUNE),
    "check": ("lam_sb.corpora.check:check_corpus", CHECK),
    "compare": ("lam_sb.evaluation.compare_runs:compare_runs", COMPARE),
    "contribute": (
        "lam_sb.contribution.contribute:contribute",
        CONTRIBUTE,
    ),
    "export": ("lam_sb.inference.export:export", EXPORT),
    "predict": ("lam_sb.inference.predict:predict", PREDICT),
}
# What refuses a command line, where that is not one of a system's file.
CHECKS = {
    "align": arguments.align_arguments,
    "check": arguments.check_arguments,
    "compare": arguments.compare_arguments,
    "contribute": arguments.contribute_arguments,
    "export": arguments.export_arguments,
    "predict": arguments.predict_arguments,
    "reproduce": partial(check_arguments, check=partial(check, is_study=True)),
    "tune": partial(check_arguments, check=check_tuning),
}


def find_command(argv: Sequence[str]) -> Callable[[], None] | None:
    """Give what is to be run; None after help, which is printed.

    Raises
    ------
    UserError
        No such command, or a mistake on its command line.
    """
    name, rest = (argv[0], argv[1:]) if argv else ("--help", [])
    if name in HELP:
        print(USAGE)
    elif name not in COMMANDS:
        raise UserError(
            f"The command is {name}; use python -m lam_sb "
            f"{' | '.join(COMMANDS)}, or --help"
        )
    elif HELP & set(rest):
        print("\n\n".join([COMMANDS[name][1], *file_keys(rest)]))
    else:
        CHECKS.get(name, check_arguments)(rest)
        module, function = COMMANDS[name][0].split(":")
        return partial(getattr(importlib.import_module(module), function), rest)
    return None


def main(argv: Sequence[str]) -> None:
    """Run the command that is named first.

    Raises
    ------
    UserError
        No such command, or whatever it finds.
    """
    command = find_command(argv)
    if command is not None:
        command()


if __name__ == "__main__":
    found = begin(find_command, sys.argv[1:])
    if found is not None:
        with console(is_verbose(sys.argv)):
            found()
