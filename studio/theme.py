"""What the studio looks like: fonts that every system has (no font is fetched), paper and ink, one accent."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from gradio.themes.utils import colors, sizes

ASSETS = Path(__file__).parent.parent / "assets"
LATEX = [{"left": "$$", "right": "$$", "display": True}, {"left": "$", "right": "$", "display": False}]

SANS = ("system-ui", "-apple-system", "Segoe UI", "Noto Sans CJK SC", "Helvetica Neue", "Arial", "sans-serif")
MONO = ("ui-monospace", "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", "monospace")


def theme() -> gr.themes.Base:
    """The gradio theme; the rest of the look is assets/studio.css."""
    return gr.themes.Base(
        primary_hue=colors.teal,
        neutral_hue=colors.stone,
        text_size=sizes.text_md,
        radius_size=sizes.radius_sm,
        font=SANS,
        font_mono=MONO,
    ).set(
        body_background_fill="#faf8f3",
        body_background_fill_dark="#15171a",
        body_text_color="#26241f",
        body_text_color_dark="#e4e1d9",
        body_text_color_subdued="#6d685d",
        body_text_color_subdued_dark="#a19c90",
        background_fill_primary="#fffdf9",
        background_fill_primary_dark="#1c1f23",
        background_fill_secondary="#f4f1ea",
        background_fill_secondary_dark="#181a1e",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_shadow="none",
        block_padding="0px",
        border_color_primary="#e2ddd2",
        border_color_primary_dark="#34383e",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_title_text_weight="500",
        block_title_text_color="#26241f",
        block_title_text_color_dark="#e4e1d9",
        input_background_fill="#fffdf9",
        input_background_fill_dark="#1c1f23",
        button_primary_background_fill="#0b6e69",
        button_primary_background_fill_dark="#2a9d94",
        button_primary_background_fill_hover="#095a56",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#0d1513",
        button_secondary_background_fill="#efebe1",
        button_secondary_background_fill_dark="#272b30",
        button_secondary_border_color="#ddd6c8",
        button_secondary_border_color_dark="#3a3f46",
        color_accent_soft="#e3efed",
        color_accent_soft_dark="#1f3432",
    )
