# The studio on a CPU. For a card: --build-arg TORCH=https://download.pytorch.org/whl/cu128, and run with --gpus all.
FROM python:3.12-slim
ARG TORCH=https://download.pytorch.org/whl/cpu
RUN useradd --create-home --uid 1000 studio
WORKDIR /home/studio/app
COPY requirements.txt .
RUN pip install --no-cache-dir --index-url "$TORCH" "torch>=2.8,<2.14" \
 && pip install --no-cache-dir -r requirements.txt
COPY --chown=studio . .
USER studio
# Two arenas: memory that many threads have freed is given back.
ENV GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=7860 MALLOC_ARENA_MAX=2 PYTHONUNBUFFERED=1
EXPOSE 7860
HEALTHCHECK --start-period=60s --interval=30s --timeout=10s \
  CMD python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/llms.txt', timeout=9)"
CMD ["python", "app.py"]
