"""A model and its text rows, loaded together, and what was done said."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from excel_cam.knowledge.base import KnowledgeBase
from excel_cam.settings import ModelChoice, Settings
from excel_cam.wording import Report

if TYPE_CHECKING:
    from excel_cam.model.clip import ClipModel
    from excel_cam.model.text_bank import TextBank


def prepare_model(choice: ModelChoice, report: Report) -> ClipModel:
    """Load the model, and say which it is."""
    from excel_cam.model.clip import load_model

    model = load_model(choice)
    computing = f"{model.device}, {model.precision}" + ("" if model.backend == "torch" else f", {model.backend}")
    report(f"model: {model.name}, weights {model.weights} ({model.fingerprint[:12]}), {computing}")
    return model


def prepare_text(
    choice: ModelChoice, knowledge: KnowledgeBase, settings: Settings, report: Report, borrowing: bool = True
) -> tuple[ClipModel, TextBank]:
    """Load the model and the knowledge base's text rows, from the cache where they are there; says what it did.

    borrowing: whether classes without sentences are enriched with attributes of the others', as step 1.5 has it. Where
    sentences come from shipped knowledge bases by the classes' names they are not.
    """
    from excel_cam.model.text_bank import build_text_bank

    model = prepare_model(choice, report)
    started = time.monotonic()
    bank = build_text_bank(knowledge, model, settings)
    rows = f"{len(bank.names)} text rows ({bank.foreground} classes), {bank.bank.shape[1]} attributes"
    if bank.was_cached:
        report(f"text bank: {rows}, from the cache {bank.path}")
    else:
        kept = "not cached" if bank.path is None else f"cached as {bank.path}"
        texts = len(bank.names) * len(knowledge.templates) + (knowledge.sentence_count if bank.bank.shape[1] else 0)
        report(f"text bank: {rows}, from {texts:,} texts in {time.monotonic() - started:.1f} s, {kept}")
        if bank.cache_trouble is not None:
            report(f"without a cache, {bank.cache_trouble}; EXCEL_CAM_CACHE names another folder")
    return model, bank if borrowing else without_borrowed_attributes(bank, knowledge)


def without_borrowed_attributes(bank: TextBank, knowledge: KnowledgeBase) -> TextBank:
    """The text rows with those of classes without sentences left plain.

    The attributes come from the other classes' sentences alone there: to add "has whiskers" to a class nobody described
    would draw it towards the cat beside it.
    """
    text = bank.text.copy()
    for index, entry in enumerate(knowledge.classes):
        if not entry.sentences:
            text[index] = bank.plain[index]
    return dataclasses.replace(bank, text=text)
