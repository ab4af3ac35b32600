"""Open the studio: python app.py [--host HOST] [--port PORT] [--share] [--mcp]."""

import argparse
import gc


def main() -> None:
    """Build the page and launch it; what is not said here, gradio's own environment variables say."""
    parser = argparse.ArgumentParser(description="Scientific Spaces Studio")
    parser.add_argument("--host", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", default=None, help="open a public link through gradio's tunnel")
    parser.add_argument(
        "--mcp", action="store_true", default=None, help="also serve the API over MCP (needs gradio[mcp])"
    )
    options = parser.parse_args()

    gc.disable()  # all that is imported stays, and to look through it again and again takes a second; `launch` ends this
    from studio.serve import launch

    launch(options.host, options.port, options.share, options.mcp)


if __name__ == "__main__":
    main()
