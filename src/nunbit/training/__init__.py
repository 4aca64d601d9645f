"""Fine-tune a dual encoder on prompts and export it as a bundle; needs the extra ``train``.

``settings`` is torch-free, so that the command line can read recipes without loading torch.
``starts`` and ``towers`` make the model, ``data`` the batches, ``losses`` the objective, ``loop``
the run, ``checkpoints`` and ``runfolder`` its files, ``export`` the bundle.
"""
