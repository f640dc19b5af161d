"""How the models here were trained: data, augmentation, fitting, figures. Worker processes and commands only."""
