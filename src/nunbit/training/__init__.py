"""Fine-tune a dual encoder on prompts and export it as a bundle; needs the extra ``train``.

``settings`` is torch-free, so that the command line can read recipes without loading torch.
``networks`` and ``towers`` make the model, ``data`` the batches, ``losses`` the objective,
``trainer`` and ``steps`` the loop, ``loop`` the whole run, ``export`` the bundle.
"""
